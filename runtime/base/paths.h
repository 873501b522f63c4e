// Where everything of a cluster lies on a node: names only, no I/O.
//
//   STATE/   ${MUSTER_STATE_DIR:-${XDG_STATE_HOME:-~/.local/state}/muster}/CLUSTER
//     ca/                          keys and certificates
//     journal.sqlite               the coordinator's
//     coordinator.address          HOST:PORT, once it listens
//     agents/NODE/daemons/ID/record      written by the agent before the jobd starts
//     agents/NODE/daemons/ID/jobd.log    what the jobd says
//     agents/NODE/daemons/ID/own/status  written by the jobd at its end (D3); the folder is the
//                                        owner's
//     logs/JOB/ATTEMPT/RANK.out          and RANK.err; never removed by a restart
//     logs/JOB/ATTEMPT/times/NODE/RANK.out    and RANK.err: when it was written (log_times.h),
//     where
//   RUNTIME/ ${XDG_RUNTIME_DIR:-/tmp}/muster-UID/SHORTID
//     NODE/ID.sock                 where the jobd listens for its agent
//     NODE/ID.exec                 and for what `muster exec` runs
//   /dev/shm/muster-SHORTID-NODE-ID/    PMIx servers, session files and shared memory of MPI
//     status                       written by the jobd while it lives (D3)
//
// ID is the job daemon's, not the job's: a jobd is started before its job is known, so that the job
// need not wait for it.
//
// Every process that muster starts carries MUSTER_CLUSTER_COOKIE in its environment, and everything
// of a job MUSTER_JOB_COOKIE as well: containment (D14) finds by them what escaped.
#pragma once

#include <string>

#include "runtime/base/orders.h"

namespace muster {

// In DaemonShm(): the loop of a jobd waits for no disk, which may take half a minute for a rename.
inline std::string LiveStatus(const std::string& daemon_shm) {
  return daemon_shm + "/status";
}

// Where the logs of a job lie, below ClusterPaths::Logs().
inline std::string LogsOfJob(const std::string& logs, JobId job) {
  return logs + "/" + std::to_string(job);
}

// Names one life of a job daemon on its node: eight hexadecimal digits, drawn anew for each.
using DaemonId = std::string;

// Beside a jobd's socket.
inline std::string ExecSocket(const std::string& daemon_socket) {
  return daemon_socket.substr(0, daemon_socket.rfind('.')) + ".exec";
}

struct ClusterPaths {
  std::string state;     // STATE above.
  std::string runtime;   // RUNTIME above.
  std::string short_id;  // Eight hexadecimal digits of the cluster's random id.

  std::string Ca() const { return state + "/ca"; }
  std::string Journal() const { return state + "/journal.sqlite"; }
  std::string CoordinatorAddress() const { return state + "/coordinator.address"; }
  std::string Agent(const NodeName& node) const { return state + "/agents/" + node; }
  std::string Daemons(const NodeName& node) const { return Agent(node) + "/daemons"; }
  std::string Daemon(const NodeName& node, const DaemonId& id) const {
    return Daemons(node) + "/" + id;
  }
  std::string DaemonOwn(const NodeName& node, const DaemonId& id) const {
    return Daemon(node, id) + "/own";
  }
  std::string DaemonStatus(const NodeName& node, const DaemonId& id) const {
    return DaemonOwn(node, id) + "/status";
  }
  std::string Logs() const { return state + "/logs"; }
  std::string JobLogs(JobId job) const { return LogsOfJob(Logs(), job); }
  std::string DaemonSocket(const NodeName& node, const DaemonId& id) const {
    return runtime + "/" + node + "/" + id + ".sock";
  }
  std::string DaemonShm(const NodeName& node, const DaemonId& id) const {
    return "/dev/shm/muster-" + JobCookie(node, id);
  }
  std::string JobCookie(const NodeName& node, const DaemonId& id) const {
    return short_id + "-" + node + "-" + id;
  }
};

// RANK.out or RANK.err of one attempt, below ClusterPaths::JobLogs().
inline std::string LogFile(const std::string& job_logs, AttemptNumber attempt, std::uint32_t rank,
                           bool is_stderr) {
  return job_logs + "/" + std::to_string(attempt) + "/" + std::to_string(rank) +
         (is_stderr ? ".err" : ".out");
}
// Beside it, in the folder of the node that wrote it: those of an embedded cluster share the logs.
inline std::string LogTimesFolder(const std::string& job_logs, AttemptNumber attempt) {
  return job_logs + "/" + std::to_string(attempt) + "/times";
}
inline std::string LogTimesFile(const std::string& job_logs, AttemptNumber attempt,
                                const NodeName& node, std::uint32_t rank, bool is_stderr) {
  return LogTimesFolder(job_logs, attempt) + "/" + node + "/" + std::to_string(rank) +
         (is_stderr ? ".err" : ".out");
}

}  // namespace muster
