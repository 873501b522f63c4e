// Finds places in a log file: where lines begin, and when what was written.
//
// One thread at a time.  The files may grow meanwhile.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/file_posix.h"
#include "runtime/base/log_times.h"

namespace muster {

// What lies there, at most buffer.size() bytes, in the buffer.
std::string_view ReadAt(int fd, std::uint64_t offset, std::string& buffer);

std::uint64_t SizeOf(int fd);  // 0 when it cannot be asked.

// The first beginning of a line at `offset` or behind it; the file's end when there is none.
std::uint64_t LineFrom(int fd, std::uint64_t offset);

// Where the last `lines` lines begin.
std::uint64_t LastLinesBegin(int fd, std::uint64_t lines);

// The times beside a log (log_times.h), asked for in order.
class LogTimeline {
 public:
  explicit LogTimeline(UniqueFd file) : file_(std::move(file)) {}  // Not valid: nothing is known.

  // Those in force for the bytes [begin, end), the first of them perhaps from before `begin`.
  std::vector<LogTime> Between(std::uint64_t begin, std::uint64_t end);

  // From which byte on all was written at `wall_us` or later.
  std::uint64_t FirstSince(std::int64_t wall_us);

 private:
  LogTime At(std::uint64_t entry) const;
  std::uint64_t count() const { return SizeOf(file_.get()) / kLogTimeBytes; }

  const UniqueFd file_;
  std::uint64_t entry_ = 0;  // In force at the last end.
  bool searched_ = false;
};

}  // namespace muster
