// What the coordinator wishes of a node's log files, and who reads them for it.
//
// Plain values and one interface; logs_posix.h reads the files, session_grpc.h carries the bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/log_times.h"
#include "runtime/base/orders.h"

namespace muster {

struct LogName {
  AttemptNumber attempt = 0;
  std::uint32_t rank = 0;
  bool is_stderr = false;
  auto operator<=>(const LogName&) const = default;
};

struct LogFrom {
  LogName file;
  std::uint64_t offset = 0;
};

// Of these attempts and ranks, the files that lie on this node.
struct LogWish {
  JobId job = 0;
  AttemptNumber first_attempt = 0, last_attempt = 0;
  std::uint32_t first_rank = 0, last_rank = 0;  // Those on this node.
  std::vector<std::uint32_t> ranks;             // Of them these; empty: all.
  std::vector<LogFrom> from;                    // Where not at 0.
  LogSelection selection;
};

// Whether `wish` asks for `file`.
bool Wants(const LogWish& wish, const LogName& file);

struct LogBytes {
  LogName file;
  std::uint64_t offset = 0;  // Of the first byte, in its file.
  std::string data;
  std::vector<LogTime> times;  // The first one may begin before `offset`; none: not known.
  // Without data: these lines before `offset` were left out.
  bool skip = false;
  std::uint64_t skipped_lines = 0;
};

// One reader for one wish; one thread at a time.  Files that appear later are found.
class LogSource {
 public:
  virtual ~LogSource() = default;
  // At most `most` bytes that were not given before; nothing when all that is there was given.
  // Does not take long, whatever is asked for.
  virtual std::optional<LogBytes> Next(std::size_t most) = 0;
};

}  // namespace muster
