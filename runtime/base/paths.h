// Where everything of a cluster lies on a node: names only, no I/O.
//
//   STATE/   ${MUSTER_STATE_DIR:-${XDG_STATE_HOME:-~/.local/state}/muster}/CLUSTER
//     ca/                          keys and certificates
//     journal.sqlite               the coordinator's
//     coordinator.address          HOST:PORT, once it listens
//     agents/NODE/jobs/JOB/record  written by the agent before the jobd starts
//     agents/NODE/jobs/JOB/jobd.log         what the jobd says
//     agents/NODE/jobs/JOB/own/status       written by the jobd (D3), fsynced; the folder is the
//     owner's logs/JOB/ATTEMPT/RANK.out    and RANK.err; never removed by a restart
//   RUNTIME/ ${XDG_RUNTIME_DIR:-/tmp}/muster-UID/SHORTID
//     NODE/JOB.sock                where the jobd listens for its agent
//     NODE/JOB/                    the job's own folder: PMIx servers, session files
//   /dev/shm/muster-SHORTID-NODE-JOB/   shared-memory files of MPI
//
// Every process that muster starts carries MUSTER_CLUSTER_COOKIE in its environment, and everything
// of a job MUSTER_JOB_COOKIE as well: containment (D14) finds by them what escaped.
#pragma once

#include <string>

#include "runtime/base/orders.h"

namespace muster {

struct ClusterPaths {
  std::string state;     // STATE above.
  std::string runtime;   // RUNTIME above.
  std::string short_id;  // Eight hexadecimal digits of the cluster's random id.

  std::string Ca() const { return state + "/ca"; }
  std::string Journal() const { return state + "/journal.sqlite"; }
  std::string CoordinatorAddress() const { return state + "/coordinator.address"; }
  std::string Agent(const NodeName& node) const { return state + "/agents/" + node; }
  std::string Jobs(const NodeName& node) const { return Agent(node) + "/jobs"; }
  std::string Job(const NodeName& node, JobId job) const {
    return Jobs(node) + "/" + std::to_string(job);
  }
  std::string JobOwn(const NodeName& node, JobId job) const { return Job(node, job) + "/own"; }
  std::string JobStatus(const NodeName& node, JobId job) const {
    return JobOwn(node, job) + "/status";
  }
  std::string JobLogs(JobId job) const { return state + "/logs/" + std::to_string(job); }
  std::string JobdSocket(const NodeName& node, JobId job) const {
    return runtime + "/" + node + "/" + std::to_string(job) + ".sock";
  }
  std::string JobRuntime(const NodeName& node, JobId job) const {
    return runtime + "/" + node + "/" + std::to_string(job);
  }
  std::string JobShm(const NodeName& node, JobId job) const {
    return "/dev/shm/muster-" + short_id + "-" + node + "-" + std::to_string(job);
  }
  std::string JobCookie(const NodeName& node, JobId job) const {
    return short_id + "-" + node + "-" + std::to_string(job);
  }
};

// RANK.out or RANK.err of one attempt, below ClusterPaths::JobLogs().
inline std::string LogFile(const std::string& job_logs, AttemptNumber attempt, std::uint32_t rank,
                           bool is_stderr) {
  return job_logs + "/" + std::to_string(attempt) + "/" + std::to_string(rank) +
         (is_stderr ? ".err" : ".out");
}

// What `muster jobd` is told on its command line, as --socket PATH and so on; the job's order comes
// on the socket.  The agent made every folder and gave it to the job's owner.
struct JobdArguments {
  JobId job = 0;
  NodeName node;
  std::string socket;   // --socket: where to listen for the agent.
  std::string status;   // --status: the status file.
  std::string logs;     // --logs: ClusterPaths::JobLogs().
  std::string runtime;  // --runtime: ClusterPaths::JobRuntime().
  std::string shm;      // --shm: ClusterPaths::JobShm().
  std::string cgroup;   // --cgroup: a cgroup2 or freezer folder made for the job; empty: none.
  std::string cookie;   // --cookie: MUSTER_JOB_COOKIE for the ranks.
};

}  // namespace muster
