#include "launcher/jobd/log_gap.h"

#include <algorithm>

namespace muster {
namespace {

std::string TwoDigits(std::int64_t number) {
  return (number < 10 ? "0" : "") + std::to_string(number);
}

// "2026-11-22 09:10:11 UTC".
std::string UtcTime(WallTime at) {
  using std::chrono::days;
  const auto day = std::chrono::floor<days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::seconds>(at - day));
  return std::to_string(static_cast<int>(date.year())) + "-" +
         TwoDigits(static_cast<unsigned>(date.month())) + "-" +
         TwoDigits(static_cast<unsigned>(date.day())) + " " + TwoDigits(time.hours().count()) +
         ":" + TwoDigits(time.minutes().count()) + ":" + TwoDigits(time.seconds().count()) + " UTC";
}

}  // namespace

void LogGap::Lose(std::string_view bytes, WallTime at, bool in_line) {
  if (bytes.empty()) return;
  if (!open()) since_ = at;
  lines_ += static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
  if (in_line && bytes.front() == '\n') --lines_;
  last_ = bytes.back();
}

std::string LogGap::Mark(WallTime until) const {
  return "[muster] " + std::to_string(lines()) + (lines() == 1 ? " line" : " lines") +
         " could not be written here between " + UtcTime(since_) + " and " + UtcTime(until) + ": " +
         why_ + "\n";
}

std::string LogGap::Bridge(char file_end, WallTime until) const {
  return (open() && file_end != '\n' ? "\n" : "") + (lines() > 0 ? Mark(until) : "");
}

}  // namespace muster
