// What a job daemon writes down about itself, so that no exit is lost when it dies (D3).
//
// One EncodeWire(StatusFile) in LiveStatus(), replaced whole on each change, and at its end in the
// file that JobdArguments::status names; who starts a node's agent anew reads it.  Pure; any
// thread.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/base/statuses.h"

namespace muster {

// A process is (pid, start): a pid alone may have been given out again.
struct RankRecord {
  std::uint32_t rank = 0;
  std::int32_t pid = 0;
  std::uint64_t start = 0;  // Clock ticks since boot: field 22 of /proc/PID/stat.
  bool exited = false;
  std::int32_t wait_status = 0;  // As waitpid(2) gives it, once exited.
  bool operator==(const RankRecord&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(rank, pid, start, exited, wait_status);
  }
};

struct StatusFile {
  JobdStatus status;
  std::vector<RankRecord> ranks;  // Of status.attempt.
  bool operator==(const StatusFile&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(status, ranks);
  }
};

}  // namespace muster
