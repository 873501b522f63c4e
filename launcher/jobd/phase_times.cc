#include "launcher/jobd/phase_times.h"

#include <algorithm>

namespace muster {
namespace {

constexpr std::array<const char*, link::kPhaseCount> kNames = {
    "starting", "restoring", "training", "checkpoint", "stopping",  "data",
    "forward",  "backward",  "comm",     "optimizer",  "evaluation"};

constexpr auto kComm = static_cast<std::size_t>(link::Phase::kComm);

}  // namespace

std::string PhaseName(link::Phase phase) {
  const auto index = static_cast<std::size_t>(phase);
  return index < kNames.size() ? kNames[index] : "unknown";
}

void PhaseTimes::Add(const link::Progress& progress, TimePoint now) {
  const auto index = static_cast<std::size_t>(phase_);
  if (!progress.phase_us.empty()) {
    const std::size_t count = std::min(progress.phase_us.size(), us_.size());
    for (std::size_t i = 0; i < count; ++i) us_[i] += progress.phase_us[i];
  } else if (heard_ && index < us_.size()) {
    const auto passed = std::chrono::duration_cast<std::chrono::microseconds>(now - at_).count();
    const auto all = static_cast<std::uint64_t>(std::max<std::int64_t>(passed, 0));
    const std::uint64_t comm = std::min(progress.comm_us, all);
    us_[kComm] += comm;
    us_[index] += all - comm;
  }
  heard_ = true;
  phase_ = progress.phase;
  at_ = now;
}

std::vector<PhaseTime> PhaseTimes::times() const {
  std::vector<PhaseTime> times;
  for (std::size_t i = 0; i < us_.size(); ++i) {
    if (us_[i] > 0) times.push_back({.name = kNames[i], .us = us_[i]});
  }
  return times;
}

}  // namespace muster
