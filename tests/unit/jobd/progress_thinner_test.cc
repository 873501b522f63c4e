#include "launcher/jobd/progress_thinner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace muster {
namespace {

std::vector<std::uint64_t> Kept(std::uint64_t first, std::uint64_t steps, std::uint64_t every) {
  ProgressThinner thinner;
  std::vector<std::uint64_t> kept;
  for (std::uint64_t step = first; step < first + steps; step += every) {
    if (thinner.Keeps(step)) kept.push_back(step);
  }
  return kept;
}

TEST(ProgressThinner, KeepsEveryStepOfAShortRun) {
  EXPECT_EQ(Kept(1, ProgressThinner::kPerSpacing, 1).size(), ProgressThinner::kPerSpacing);
  EXPECT_EQ(Kept(1'000'000, 200, 1).size(), 200U);  // One that was resumed.
  EXPECT_EQ(Kept(100, 20'000, 100).size(), 200U);
}

TEST(ProgressThinner, KeepsAFewThousandOfAnyNumberAndManyOfTheLastHalf) {
  for (const std::uint64_t steps : {1'000U, 30'000U, 1'000'000U, 20'000'000U}) {
    const auto kept = Kept(1, steps, 1);
    EXPECT_LE(kept.size(), 5000U) << steps;
    const auto half = std::lower_bound(kept.begin(), kept.end(), steps / 2);
    EXPECT_GE(kept.end() - half, 100) << steps;
  }
}

TEST(ProgressThinner, ALoopThatGoesBackIsFollowedButNotForEver) {
  ProgressThinner thinner;
  EXPECT_TRUE(thinner.Keeps(200'000));
  EXPECT_FALSE(thinner.Keeps(200'000));
  EXPECT_TRUE(thinner.Keeps(100'004));
  EXPECT_TRUE(thinner.Keeps(100'005));
  std::uint64_t kept = 3;
  for (std::uint64_t i = 100'000; i > 0; --i) kept += thinner.Keeps(i) ? 1 : 0;
  EXPECT_EQ(kept, ProgressThinner::kMost);
  EXPECT_FALSE(thinner.KeepsLast(77));
}

TEST(ProgressThinner, KeepsTheLastStepOnce) {
  ProgressThinner thinner;
  for (std::uint64_t step = 1; step <= 1000; ++step) thinner.Keeps(step);
  EXPECT_TRUE(thinner.KeepsLast(1001));
  EXPECT_FALSE(thinner.KeepsLast(1001));
}

}  // namespace
}  // namespace muster
