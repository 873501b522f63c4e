// Lengths of time as people write them: "30s", "10m", "1h30m", "250ms".  Pure; any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace muster {

// Units ms, s, m, h, d, largest first, each at most once.  A bare number is refused, except 0: it
// could mean anything.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

// The shortest form that ParseDuration reads back to the same value.
std::string FormatDuration(std::chrono::milliseconds length);

}  // namespace muster
