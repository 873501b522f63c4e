// The points of a job's loss curve: lines of a file beside the logs, LOGS/JOB/ATTEMPT/progress.
//
// The head's jobd writes them, thinned (launcher/jobd/progress_thinner.h); the file is read the way
// logs are, survives the job, and is never journaled.  A line: step, loss, tokens and milliseconds
// since 1970, apart by spaces.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

inline constexpr char kProgressFileName[] = "progress";

struct ProgressPoint {
  std::uint64_t step = 0;
  double loss = 0;  // Minus infinity: none was told.
  std::uint64_t tokens = 0;
  std::int64_t at_ms = 0;
  bool operator==(const ProgressPoint&) const = default;
};

std::string ProgressLine(const ProgressPoint& point);

// Lines that are none, such as one that was cut, are left out.
std::vector<ProgressPoint> ReadProgressLines(std::string_view text);

}  // namespace muster
