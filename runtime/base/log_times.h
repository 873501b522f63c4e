// When what lies in a rank's log file was written, and which part of it a reader asks for.
//
// The times have a small file of their own beside the log.
// An entry for each burst, at fixed places, so that a reader can search: from `offset` on, until
// the next entry's, the bytes came at `wall_us`.  Of entries with the same offset the last one
// counts. The log itself stays byte for byte what the program wrote.  Pure; any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace muster {

struct LogTime {
  std::uint64_t offset = 0;
  std::int64_t wall_us = 0;  // Since 1970.
  bool operator==(const LogTime&) const = default;
};

inline constexpr std::size_t kLogTimeBytes = sizeof(LogTime);
static_assert(kLogTimeBytes == 16);

// As they lie in the file; what is left over of an entry that was cut is none.
inline std::vector<LogTime> DecodeLogTimes(std::string_view bytes) {
  std::vector<LogTime> times(bytes.size() / kLogTimeBytes);
  if (!times.empty()) std::memcpy(times.data(), bytes.data(), times.size() * kLogTimeBytes);
  return times;
}

// What a reader of logs asks for, of each file.
struct LogSelection {
  bool no_stdout = false, no_stderr = false;
  // Of a file that the reader has nothing of: its last lines, or what was written since; 0: all.
  std::uint64_t tail_lines = 0;
  std::int64_t since_us = 0;
  std::uint64_t behind_bytes = 0;  // Further behind, it is read on near its end; 0: never.
  bool progress = false;           // Instead: the points of the loss curve, as rank 0's.
  bool recorder = false;           // Instead: each rank's flight recorder (recorder_file.h).
  bool operator==(const LogSelection&) const = default;
};

}  // namespace muster
