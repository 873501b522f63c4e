#include "runtime/base/port_range.h"

#include "runtime/base/text.h"

namespace muster {

Result<PortRange> ParsePortRange(std::string_view text) {
  constexpr std::uint64_t kLeast = 10;
  const std::size_t dash = text.find('-');
  const auto first = ParseUnsigned(text.substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? std::nullopt : ParseUnsigned(text.substr(dash + 1));
  if (!first || !last || *first < 1024 || *last > 65535 || *last < *first + kLeast - 1) {
    return Status(Code::kInvalid,
                  "takes FIRST-LAST within 1024-65535 and at least " + std::to_string(kLeast) +
                      " ports, such as 61000-61999; found '" + std::string(text) + "'");
  }
  return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::string ToText(const PortRange& range) {
  return std::to_string(range.first) + "-" + std::to_string(range.last);
}

}  // namespace muster
