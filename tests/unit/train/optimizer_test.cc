#include "runtime/train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

namespace muster {
namespace {

TEST(Optimizer, LearningRateWarmsUpThenFollowsACosineToItsFinalPart) {
  const OptimizerConfig config;
  EXPECT_DOUBLE_EQ(LearningRate(config, 0, 1000), 1e-5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 99, 1000), 1e-3);
  EXPECT_DOUBLE_EQ(LearningRate(config, 100, 1000), 1e-3);
  EXPECT_NEAR(LearningRate(config, 550, 1000), 0.55e-3, 1e-12);
  EXPECT_NEAR(LearningRate(config, 1000, 1000), 1e-4, 1e-12);
  EXPECT_GT(LearningRate(config, 10, 50), 0);  // A run shorter than its warm-up.
}

TEST(Optimizer, OtherSchedulesStayOrFallInAStraightLine) {
  OptimizerConfig config;
  config.schedule = Schedule::kConstant;
  EXPECT_DOUBLE_EQ(LearningRate(config, 49, 1000), 0.5e-3);
  EXPECT_DOUBLE_EQ(LearningRate(config, 999, 1000), 1e-3);
  config.schedule = Schedule::kLinear;
  EXPECT_DOUBLE_EQ(LearningRate(config, 49, 1000), 0.5e-3);
  EXPECT_NEAR(LearningRate(config, 325, 1000), 0.775e-3, 1e-12);  // A quarter of the way.
  EXPECT_NEAR(LearningRate(config, 1000, 1000), 1e-4, 1e-12);
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kLinear, Schedule::kCosine}) {
    config.schedule = schedule;
    config.warmup_steps = 0;
    EXPECT_DOUBLE_EQ(LearningRate(config, 0, 1000), 1e-3) << NameOf(schedule);
  }
}

TEST(Optimizer, CosPiIsTheCosine) {
  for (int i = 0; i <= 1000; ++i) {
    EXPECT_NEAR(CosPi(i / 1000.0), std::cos(std::numbers::pi * i / 1000.0), 2e-15) << i;
  }
}

TEST(Optimizer, SumOfSquaresIsRightForAnyLength) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(1000);
  for (float& x : values) x = uniform(random);
  for (const std::size_t n : {0U, 1U, 15U, 16U, 17U, 1000U}) {
    double expected = 0;
    for (std::size_t i = 0; i < n; ++i) expected += static_cast<double>(values[i]) * values[i];
    EXPECT_NEAR(SumOfSquares(values.data(), n), expected, 1e-9) << n;
  }
}

TEST(Optimizer, ClipsTheMeanGradientToTheNorm) {
  const OptimizerConfig config{.clip_norm = 2};
  EXPECT_DOUBLE_EQ(GradientScale(config, 16 * 16 * 1.0, 16), 1.0 / 16);         // Norm 1.
  EXPECT_DOUBLE_EQ(GradientScale(config, 16 * 16 * 64.0, 16), 1.0 / 16 / 4.0);  // Norm 8.
  EXPECT_DOUBLE_EQ(GradientScale({.clip_norm = 0}, 16 * 16 * 64.0, 16), 1.0 / 16);
}

TEST(Optimizer, TheLossScaleIsTakenOutAgain) {
  const OptimizerConfig config{.clip_norm = 2};
  for (const double norm : {1.0, 8.0}) {
    const double squares = 16 * 16 * norm * norm;
    EXPECT_EQ(GradientScale(config, squares * 1024 * 1024, 16, 1024),
              GradientScale(config, squares, 16) / 1024);
  }
}

// The textbook, in double, one element at a time.
TEST(Optimizer, AdamWIsWhatThePaperSays) {
  const OptimizerConfig config{.warmup_steps = 0};
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  constexpr std::size_t kElements = 37;
  for (const bool decay : {false, true}) {
    std::vector<float> p(kElements), m(kElements), v(kElements), g(kElements);
    for (float& x : p) x = normal(random);
    std::vector<double> rp(p.begin(), p.end()), rm(kElements), rv(kElements);
    for (std::uint64_t step = 0; step < 20; ++step) {
      for (float& x : g) x = normal(random);
      const AdamWUpdate update = MakeUpdate(config, step, 20, 0.5, step);
      ApplyAdamW(update, {p.data(), m.data(), v.data(), g.data(), kElements, decay});
      const double rate = LearningRate(config, step, 20);
      for (std::size_t i = 0; i < kElements; ++i) {
        const double grad = 0.5 * static_cast<double>(g[i]);
        rm[i] = config.beta1 * rm[i] + (1 - config.beta1) * grad;
        rv[i] = config.beta2 * rv[i] + (1 - config.beta2) * grad * grad;
        const auto t = static_cast<double>(step + 1);
        const double mean = rm[i] / (1 - std::pow(config.beta1, t));
        const double deviation = std::sqrt(rv[i] / (1 - std::pow(config.beta2, t)));
        if (decay) rp[i] *= 1 - rate * config.weight_decay;
        rp[i] -= rate * mean / (deviation + config.epsilon);
      }
    }
    for (std::size_t i = 0; i < kElements; ++i) EXPECT_NEAR(p[i], rp[i], 2e-5) << i;
  }
}

}  // namespace
}  // namespace muster
