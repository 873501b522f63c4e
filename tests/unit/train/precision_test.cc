#include "runtime/train/precision.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "runtime/train/train_options.h"

namespace muster {
namespace {

float Rounded(float x) {
  RoundToBF16(&x, &x, 1);
  return x;
}

TEST(Precision, RoundsToTheNearestBF16TiesToEven) {
  EXPECT_EQ(Rounded(1.0F), 1.0F);
  EXPECT_EQ(Rounded(1.0F + 1.0F / 256), 1.0F);               // Half way: 1 is even.
  EXPECT_EQ(Rounded(1.0F + 3.0F / 256), 1.0F + 2.0F / 128);  // Half way: up.
  EXPECT_EQ(Rounded(1.0F + 1.1F / 256), 1.0F + 1.0F / 128);
  EXPECT_EQ(Rounded(-0.0F), 0.0F);
  EXPECT_TRUE(std::signbit(Rounded(-0.0F)));
  EXPECT_EQ(Rounded(std::numeric_limits<float>::max()), std::numeric_limits<float>::infinity());
  EXPECT_EQ(Rounded(-std::numeric_limits<float>::infinity()),
            -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(Rounded(std::bit_cast<float>(0x7F800001U))));  // All ones are cut off.
}

TEST(Precision, IsNeverFartherThanHalfAStepOfBF16) {
  std::mt19937 random(3);
  for (int i = 0; i < 100000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isfinite(x) || std::abs(x) < 1e-30F || std::abs(x) > 1e38F) continue;
    const float rounded = Rounded(x);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(rounded) & 0xFFFFU, 0U);
    EXPECT_LE(std::abs(rounded - x), std::abs(x) / 256);
  }
}

TEST(LossScale, HalvesAfterAnOverflowAndDoublesAfterEnoughGoodSteps) {
  const LossScaling scaling{.scale = 1024, .dynamic = true, .growth_interval = 3};
  ScaleState state = Begin(scaling);
  state = After(scaling, state, false);
  EXPECT_EQ(state, (ScaleState{.scale = 512}));
  state = After(scaling, After(scaling, state, true), true);
  EXPECT_EQ(state, (ScaleState{.scale = 512, .good_steps = 2}));
  EXPECT_EQ(After(scaling, state, false), (ScaleState{.scale = 256}));
  EXPECT_EQ(After(scaling, state, true), (ScaleState{.scale = 1024}));
}

TEST(LossScale, AStaticOneStaysAndIsNotToBlame) {
  const LossScaling scaling{.scale = 1024};
  EXPECT_EQ(After(scaling, Begin(scaling), false), Begin(scaling));
  EXPECT_FALSE(MayBlameScale(scaling, Begin(scaling)));
}

TEST(LossScale, StaysWithinItsBounds) {
  const LossScaling scaling{.scale = 1, .dynamic = true, .growth_interval = 1};
  ScaleState state = Begin(scaling);
  for (int i = 0; i < 100; ++i) state = After(scaling, state, true);
  EXPECT_EQ(state.scale, 16777216);
  int halvings = 0;
  for (; MayBlameScale(scaling, state); ++halvings) state = After(scaling, state, false);
  EXPECT_EQ(halvings, 24 + 14);
  EXPECT_EQ(After(scaling, state, false).scale, state.scale);
}

TEST(TrainOptions, AllMistakesAreToldAtOnce) {
  TrainOptions options{.micro_batches = 0};
  options.optimizer.clip_norm = -1;
  options.loss_scaling.scale = 1000;
  const Status checked = Check(options);
  EXPECT_EQ(checked.code(), Code::kInvalid);
  for (const char* part : {"the norm to clip to is -1.0", "0 x 1 micro-batches",
                           "the loss scale is 1000, allowed is a power of two"}) {
    EXPECT_NE(checked.message().find(part), std::string::npos) << checked.message();
  }
  EXPECT_TRUE(Check(TrainOptions()).ok());
}

// A checkpoint of before these options existed must still be gone on from.
TEST(TrainOptions, DefaultsLeaveTheFactsOfARunAsTheyWere) {
  RunFacts facts = FactsOf(TrainOptions(), 10);
  EXPECT_EQ(facts.size(), 5U);
  EXPECT_EQ(facts["optimizer"].find("schedule"), std::string::npos);
  TrainOptions other{.accumulate = 2, .precision = Precision::kBF16, .deterministic = false};
  other.optimizer.schedule = Schedule::kLinear;
  facts = FactsOf(other, 10);
  EXPECT_EQ(facts["micro_batches"], "32");
  EXPECT_EQ(facts["precision"], "bf16");
  EXPECT_EQ(facts["deterministic"], "false");
  EXPECT_NE(facts["optimizer"].find("schedule linear"), std::string::npos);
}

}  // namespace
}  // namespace muster
