// How one line of a rank's output is shown.  Pure.
#pragma once

#include <string>
#include <string_view>

#include "launcher/cli/cluster.h"

namespace muster {

struct LineOrigin {
  AttemptNumber attempt = 0;
  NodeName node;
  std::uint32_t rank = 0;
  bool is_stderr = false;
  std::int64_t wall_us = 0;  // Since 1970; 0: not known.
};

// "12:03:07.214 n0 3| ", in the time of that offset from UTC.
std::string FullPrefix(const LineOrigin& origin, std::int64_t utc_offset_s);

// {"time", "node", "rank", "attempt", "stream", "text"}; bytes that are no UTF-8 are "base64"
// instead of "text".  With the end of the line.
std::string LineJson(const LineOrigin& origin, std::string_view text);

// 1,234,567.
std::string WithCommas(std::uint64_t number);

}  // namespace muster
