// The loop's host in this example: the first rank prints now and then, every rank reports on the
// link.  One thread a rank; only one
// rank may speak.
#pragma once

#include <chrono>

#include "runtime/base/clock.h"
#include "runtime/base/link_posix.h"
#include "runtime/train/trainer.h"

namespace muster {

class Console final : public TrainHost {
 public:
  // `link` is null without a launcher of ours.
  Console(bool speaks, std::uint64_t steps, Clock& clock, RankLink* link);

  bool StopRequested() override;
  void Report(const link::Progress& progress, double loss_ema) override;
  void Say(const std::string& line) override;

 private:
  const bool speaks_;
  const std::uint64_t steps_;
  Clock& clock_;
  RankLink* const link_;
  TimePoint last_line_;
};

}  // namespace muster
