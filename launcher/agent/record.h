// What the agent writes down about a job daemon before it may run, so that a later life of the
// agent finds it again: agents/NODE/daemons/ID/record, in the form of wire.h.  Pure values.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/paths.h"

namespace muster {

struct JobdRecord {
  JobId job = 0;  // 0: a spare, which has none yet.
  std::string boot_id;
  std::int64_t pid = 0;
  std::uint64_t start = 0;  // Clock ticks since boot: with the pid a name that is not reused.
  std::uint32_t uid = 0;
  std::uint32_t grace_ms = 0;
  std::string group;   // Containment's; empty: none.
  std::string cookie;  // MUSTER_JOB_COOKIE.
  DaemonId id;
  bool operator==(const JobdRecord&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, boot_id, pid, start, uid, grace_ms, group, cookie, id);
  }
};

}  // namespace muster
