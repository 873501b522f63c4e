#include "runtime/base/signals.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "runtime/base/text.h"

namespace muster {
namespace {

// Linux on x86-64 and arm64.
constexpr std::array<std::pair<std::string_view, std::int32_t>, 31> kSignals = {
    {{"HUP", 1},   {"INT", 2},     {"QUIT", 3},  {"ILL", 4},     {"TRAP", 5},  {"ABRT", 6},
     {"BUS", 7},   {"FPE", 8},     {"KILL", 9},  {"USR1", 10},   {"SEGV", 11}, {"USR2", 12},
     {"PIPE", 13}, {"ALRM", 14},   {"TERM", 15}, {"STKFLT", 16}, {"CHLD", 17}, {"CONT", 18},
     {"STOP", 19}, {"TSTP", 20},   {"TTIN", 21}, {"TTOU", 22},   {"URG", 23},  {"XCPU", 24},
     {"XFSZ", 25}, {"VTALRM", 26}, {"PROF", 27}, {"WINCH", 28},  {"IO", 29},   {"PWR", 30},
     {"SYS", 31}}};

}  // namespace

std::int32_t ParseSignal(std::string_view text) {
  if (const auto number = ParseUnsigned(text)) {
    return *number >= 1 && *number <= 64 ? static_cast<std::int32_t>(*number) : 0;
  }
  std::string name(text);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (name.rfind("SIG", 0) == 0) name.erase(0, 3);
  for (const auto& [known, number] : kSignals) {
    if (known == name) return number;
  }
  return 0;
}

std::string SignalName(std::int32_t signal) {
  for (const auto& [known, number] : kSignals) {
    if (number == signal) return "SIG" + std::string(known);
  }
  return "signal " + std::to_string(signal);
}

}  // namespace muster
