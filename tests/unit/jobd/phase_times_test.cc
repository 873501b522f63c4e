#include "launcher/jobd/phase_times.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using link::Phase;
using std::chrono::milliseconds;

TimePoint At(int ms) {
  return TimePoint(std::chrono::hours(1)) + milliseconds(ms);
}

std::uint64_t UsIn(const PhaseTimes& times, const std::string& name) {
  for (const PhaseTime& time : times.times()) {
    if (time.name == name) return time.us;
  }
  return 0;
}

TEST(PhaseTimes, AddsUpWhatTheRankCounted) {
  PhaseTimes times;
  EXPECT_EQ(times.phase(), "");
  EXPECT_TRUE(times.times().empty());
  std::vector<std::uint64_t> spent(link::kPhaseCount);
  spent[static_cast<std::size_t>(Phase::kForward)] = 300;
  spent[static_cast<std::size_t>(Phase::kData)] = 50;
  for (int i = 0; i < 2; ++i)
    times.Add({.phase = Phase::kForward, .phase_us = spent}, At(1000 * i));
  EXPECT_EQ(times.phase(), "forward");
  EXPECT_EQ(UsIn(times, "forward"), 600U);
  EXPECT_EQ(UsIn(times, "data"), 100U);
  EXPECT_EQ(times.times().size(), 2U);
}

TEST(PhaseTimes, TakesTheTimeBetweenReportsOfOneThatDoesNotCount) {
  PhaseTimes times;
  times.Add({.phase = Phase::kRestoring}, At(0));
  times.Add({.phase = Phase::kTraining}, At(200));
  times.Add({.comm_us = 30'000, .phase = Phase::kTraining}, At(300));
  EXPECT_EQ(times.phase(), "training");
  EXPECT_EQ(UsIn(times, "restoring"), 200'000U);
  EXPECT_EQ(UsIn(times, "training"), 70'000U);
  EXPECT_EQ(UsIn(times, "comm"), 30'000U);
}

TEST(PhaseTimes, BelievesNoRankThatMakesNoSense) {
  PhaseTimes times;
  times.Add({.phase = static_cast<Phase>(200)}, At(100));
  EXPECT_EQ(times.phase(), "unknown");
  times.Add({.comm_us = 1'000'000'000,
             .phase = Phase::kTraining,
             .phase_us = std::vector<std::uint64_t>(1000, 7)},
            At(200));
  EXPECT_EQ(times.times().size(), link::kPhaseCount);
  times.Add({.comm_us = 1'000'000'000, .phase = Phase::kTraining}, At(50));  // Time goes back.
  EXPECT_EQ(UsIn(times, "comm"), 7U);
}

}  // namespace
}  // namespace muster
