#include "launcher/cli/duration.h"

#include <array>
#include <cstdint>

#include "runtime/base/text.h"

namespace muster {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t ms;
};
constexpr std::array<Unit, 5> kUnits = {
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::int64_t kLongest = 100LL * 365 * 86'400'000;

Status NotADuration(std::string_view text) {
  return Status(Code::kInvalid, "'" + std::string(text) +
                                    "' is not a length of time; write a number with a unit, such "
                                    "as 30s, 10m, 1h30m or 250ms");
}

}  // namespace

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  if (text == "0") return std::chrono::milliseconds(0);
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  std::string_view rest = text;
  if (rest.empty()) return NotADuration(text);
  while (!rest.empty()) {
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const auto number = ParseUnsigned(rest.substr(0, digits));
    rest.remove_prefix(digits);
    const std::size_t letters = std::min(rest.find_first_of("0123456789"), rest.size());
    const std::string_view name = rest.substr(0, letters);
    rest.remove_prefix(letters);
    while (next_unit < kUnits.size() && kUnits[next_unit].name != name) ++next_unit;
    if (!number || next_unit == kUnits.size()) return NotADuration(text);
    const std::int64_t unit = kUnits[next_unit++].ms;
    if (*number > static_cast<std::uint64_t>((kLongest - total) / unit)) return NotADuration(text);
    total += static_cast<std::int64_t>(*number) * unit;
  }
  return std::chrono::milliseconds(total);
}

std::string FormatDuration(std::chrono::milliseconds length) {
  std::int64_t rest = length.count();
  if (rest == 0) return "0";
  std::string text;
  for (const Unit& unit : kUnits) {
    if (rest < unit.ms) continue;
    text += std::to_string(rest / unit.ms) + std::string(unit.name);
    rest %= unit.ms;
  }
  return text;
}

}  // namespace muster
