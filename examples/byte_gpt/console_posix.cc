#include "examples/byte_gpt/console_posix.h"

#include <cstdio>

#include "runtime/train/stop_posix.h"

namespace muster {

Console::Console(bool speaks, std::uint64_t steps, Clock& clock, RankLink* link)
    : speaks_(speaks), steps_(steps), clock_(clock), link_(link), last_line_(clock.Now()) {}

bool Console::StopRequested() {
  if (link_ != nullptr && link_->Poll(Duration::zero()).ok() && link_->stop_requested())
    return true;
  return StopSignalSeen();
}

void Console::Report(const link::Progress& progress, double loss_ema) {
  if (link_ != nullptr) link_->Report(progress);
  constexpr auto kQuiet = std::chrono::seconds(5);
  const TimePoint now = clock_.Now();
  if (progress.phase != link::Phase::kTraining || progress.step == 0) return;
  const bool due = progress.step == 1 || progress.step == steps_ || now - last_line_ >= kQuiet;
  if (!speaks_ || !due) return;
  last_line_ = now;
  std::printf("step %llu/%llu loss %.4f ema %.4f\n", static_cast<unsigned long long>(progress.step),
              static_cast<unsigned long long>(steps_), progress.loss, loss_ema);
  std::fflush(stdout);
}

void Console::Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace muster
