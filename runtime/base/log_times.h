// When what lies in a rank's log file was written: the form of the small file beside it.
//
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

}  // namespace muster
