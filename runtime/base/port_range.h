// TCP ports from first to last.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/result.h"

namespace muster {

// Above what Linux gives to outgoing connections (net.ipv4.ip_local_port_range: 32768 to 60999).
struct PortRange {
  std::uint16_t first = 61000, last = 65499;
  bool operator==(const PortRange&) const = default;
};

// "61000-61999"; a range holds at least ten ports.
Result<PortRange> ParsePortRange(std::string_view text);
std::string ToText(const PortRange& range);

}  // namespace muster
