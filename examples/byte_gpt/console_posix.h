// The loop's host in this example: the first rank prints now and then, and writes the step log if
// there is one; every rank reports on the link.  One thread a rank; only one rank may speak.
#pragma once

#include <chrono>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/link_posix.h"
#include "runtime/train/trainer.h"

namespace muster {

Result<UniqueFd> OpenStepLog(const std::string& path);

class Console final : public TrainHost {
 public:
  // `link` is null without a launcher of ours.
  Console(bool speaks, std::uint64_t steps, Clock& clock, RankLink* link);

  // Appends a line a step: attempt, step, microseconds of the monotonic clock, loss, tokens so far.
  void WriteStepLog(UniqueFd file, std::uint32_t attempt);

  // Tells what each step that is printed took, and the MFU: `teraflop` a step and GPU, of `peak` a
  // second (0: not known).
  void MeasureSteps(double teraflop, double peak) {
    teraflop_ = teraflop;
    peak_ = peak;
  }

  bool StopRequested() override;
  void Report(const link::Progress& progress, double loss_ema) override;
  void Say(const std::string& line) override;

 private:
  void LogStep(const link::Progress& progress, TimePoint now);

  const bool speaks_;
  const std::uint64_t steps_;
  Clock& clock_;
  RankLink* const link_;
  TimePoint last_line_;
  TimePoint last_step_{};
  double teraflop_ = 0, peak_ = 0;
  UniqueFd step_log_;
  std::uint32_t attempt_ = 0;
  std::uint64_t logged_step_ = 0;
};

}  // namespace muster
