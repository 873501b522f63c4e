#include <unistd.h>

#include <atomic>
#include <ctime>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

std::string& ProcessName() {
  static std::string name = "muster";
  return name;
}

std::atomic<LogLevel> lowest{LogLevel::kInfo};

}  // namespace

void SetLogProcess(std::string name) {
  ProcessName() = std::move(name);
}

void SetLogLevel(LogLevel level) {
  lowest = level;
}

void Log(LogLevel level, std::string_view line) {
  if (level < lowest.load()) return;
  static constexpr const char* kNames[] = {"DEBUG", "INFO", "WARN", "ERROR"};
  const auto since_epoch = RealClock().Wall().time_since_epoch();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch).count();
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char stamp[40];
  const std::size_t n = std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(stamp + n, sizeof stamp - n, ".%03dZ", static_cast<int>(millis));
  std::string text = std::string(stamp) + " " + kNames[static_cast<int>(level)] + " " +
                     ProcessName() + ": " + std::string(line) + "\n";
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // Nobody is left to tell.
}

}  // namespace muster
