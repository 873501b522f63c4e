// The life of a job daemon as a process, seen from its agent: started, found again, contained, and
// its traces removed.
//
// One thread, the agent's loop.  The agent runs other threads (gRPC), so between fork and exec only
// system calls are made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/agent/record.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/paths.h"
#include "runtime/base/port_range.h"

namespace muster {

// What stays the same for every job daemon of this agent.
struct JobdHost {
  ClusterPaths paths;
  NodeName node;
  std::string boot_id;
  bool allow_root = false;
  std::uint32_t slots = 1;
  PortRange ports;  // For the ranks.
};

struct JobdProcess {
  JobdRecord record;
  UniqueFd pidfd;
};

// Makes its folders, forks, writes the record, and only then lets the child become a job daemon
// without a job, as the owner, in a session and a containment group of its own.
//
// The child waits for a byte on a pipe: if this process dies before the record is there, the child
// sees the pipe's end and leaves.  kDenied: root is not allowed, or the ids cannot be taken.
Result<JobdProcess> StartJobd(const JobdHost& host, const Owner& owner);

// Before its first order is sent: the record says whose it is, and the job has a folder of logs.
Status GiveJob(const JobdHost& host, const StartAttempt& order, JobdRecord& record);

// Every job daemon with a folder on this node, with its record if that can be read and is of this
// boot.
struct FoundDaemon {
  DaemonId id;
  std::optional<JobdRecord> record;
};
std::vector<FoundDaemon> FindDaemons(const JobdHost& host);

// Opens the process that the record names; nothing when it is gone, even if its pid was reused.
std::optional<JobdProcess> OpenJobd(const JobdRecord& record);

// One round of killing all that the job daemon started, and itself; true when nothing was found.
bool ContainRound(const JobdRecord& record);

// Removes the record, the sockets and folders, and the containment group; the logs stay.
Status SweepTraces(const JobdHost& host, const DaemonId& id, const std::string& group);

// For what is neither a job's nor worth waiting long for: contains and sweeps it, within a second.
void RemoveDaemon(const JobdHost& host, const FoundDaemon& found);

}  // namespace muster
