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

namespace muster {

// What stays the same for every job daemon of this agent.
struct JobdHost {
  ClusterPaths paths;
  NodeName node;
  std::string boot_id;
  bool allow_root = false;
};

struct JobdProcess {
  JobdRecord record;
  UniqueFd pidfd;
};

// Makes the job's folders, forks, writes the record, and only then lets the child become the job
// daemon, as the owner, in a session and a containment group of its own.
//
// The child waits for a byte on a pipe: if this process dies before the record is safe, the child
// sees the pipe's end and leaves.  kDenied: root is not allowed, or the ids cannot be taken.
Result<JobdProcess> StartJobd(const JobdHost& host, const StartAttempt& order);

// Every job with a folder on this node, with its record if that can be read and is of this boot.
struct FoundJob {
  JobId job = 0;
  std::optional<JobdRecord> record;
};
std::vector<FoundJob> FindJobs(const JobdHost& host);

// Opens the process that the record names; nothing when it is gone, even if its pid was reused.
std::optional<JobdProcess> OpenJobd(const JobdRecord& record);

// One round of killing all of a job on this node; true when nothing of it was found alive.
bool ContainRound(const JobdRecord& record);

// Removes the record, the sockets and folders, and the containment group; the logs stay.
Status SweepTraces(const JobdHost& host, JobId job, const std::optional<JobdRecord>& record);

// What JobdRecord holds of a job whose record is lost: enough to contain it.
JobdRecord GuessRecord(const JobdHost& host, JobId job, std::uint32_t uid);

}  // namespace muster
