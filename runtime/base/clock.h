// Time as the core sees it: a value that is handed in.  Only clock_posix.cc asks the machine.
//
// TimePoint is monotonic and has a meaning on one host, in one life of its kernel; it never crosses
// a wire.  WallTime is for people: log lines, file names, `muster list`.
#pragma once

#include <chrono>
#include <cstdint>

namespace muster {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() = 0;
  virtual WallTime Wall() = 0;
};

// The machine's own clock.  Any thread.
Clock& RealClock();

}  // namespace muster
