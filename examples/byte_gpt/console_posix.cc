#include "examples/byte_gpt/console_posix.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>

#include "runtime/train/stop_posix.h"

namespace muster {

Result<UniqueFd> OpenStepLog(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return ErrnoStatus("--step-log " + path, errno);
  return file;
}

Console::Console(bool speaks, std::uint64_t steps, Clock& clock, RankLink* link)
    : speaks_(speaks), steps_(steps), clock_(clock), link_(link), last_line_(clock.Now()) {}

void Console::WriteStepLog(UniqueFd file, std::uint32_t attempt) {
  step_log_ = std::move(file);
  attempt_ = attempt;
}

void Console::LogStep(const link::Progress& progress, TimePoint now) {
  logged_step_ = progress.step;
  const auto at = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch());
  char line[128];
  const int size = std::snprintf(line, sizeof line, "%u %llu %lld %.6f %llu\n", attempt_,
                                 static_cast<unsigned long long>(progress.step),
                                 static_cast<long long>(at.count()), progress.loss,
                                 static_cast<unsigned long long>(progress.tokens));
  const Status written = WriteAll(step_log_.get(), line, static_cast<std::size_t>(size));
  if (written.ok()) return;
  std::fprintf(stderr, "byte_gpt: no more step log: %s\n", written.message().c_str());
  step_log_.Reset();
}

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
  if (step_log_.valid() && progress.step > logged_step_) LogStep(progress, now);
  const double seconds = std::chrono::duration<double>(now - last_step_).count();
  const bool timed = teraflop_ > 0 && last_step_ != TimePoint() && seconds > 0;
  last_step_ = now;
  const bool due = progress.step == 1 || progress.step == steps_ || now - last_line_ >= kQuiet;
  if (!speaks_ || !due) return;
  last_line_ = now;
  std::printf("step %llu/%llu loss %.4f ema %.4f", static_cast<unsigned long long>(progress.step),
              static_cast<unsigned long long>(steps_), progress.loss, loss_ema);
  if (timed) std::printf(" %.1f ms", 1e3 * seconds);
  if (timed && peak_ > 0) std::printf(" MFU %.1f%%", 100 * teraflop_ / seconds / peak_);
  std::printf("\n");
  std::fflush(stdout);
}

void Console::Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace muster
