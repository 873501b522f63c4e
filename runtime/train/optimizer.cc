#include "runtime/train/optimizer.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace muster {
namespace {

double Power(double base, std::uint64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1U) {
    if ((exponent & 1U) != 0) result *= base;
    base *= base;
  }
  return result;
}

}  // namespace

double CosPi(double x) {
  // Taylor around 0 on [0, 1/4]; the rest by symmetry and cos(2a) = 2 cos(a)^2 - 1.
  if (x > 0.5) return -CosPi(1 - x);
  if (x > 0.25) {
    const double half = CosPi(x / 2);
    return 2 * half * half - 1;
  }
  const double a = x * 3.14159265358979323846;
  double term = 1;
  double sum = 1;
  for (int k = 1; k <= 9; ++k) {
    term = -term * a * a / static_cast<double>((2 * k - 1) * (2 * k));
    sum += term;
  }
  return sum;
}

double LearningRate(const OptimizerConfig& config, std::uint64_t step, std::uint64_t steps) {
  const auto warmup = static_cast<double>(config.warmup_steps);
  const auto at = static_cast<double>(step);
  if (step < config.warmup_steps) return config.learning_rate * (at + 1) / warmup;
  const double rest = static_cast<double>(steps) - warmup;
  const double done = rest > 0 ? std::min(1.0, (at - warmup) / rest) : 1.0;
  const double low = config.learning_rate * config.final_fraction;
  return low + (config.learning_rate - low) * 0.5 * (1 + CosPi(done));
}

double TreeSum(std::span<const double> partials) {
  if (partials.empty()) return 0;
  if (partials.size() == 1) return partials[0];
  const std::size_t half = std::bit_ceil(partials.size()) / 2;
  return TreeSum(partials.first(half)) + TreeSum(partials.subspan(half));
}

double GradientScale(const OptimizerConfig& config, double sum_of_squares,
                     std::uint32_t micro_batches) {
  const double norm = std::sqrt(sum_of_squares) / micro_batches;
  const double mean = 1.0 / micro_batches;
  return norm > config.clip_norm ? mean * (config.clip_norm / norm) : mean;
}

AdamWUpdate MakeUpdate(const OptimizerConfig& config, std::uint64_t step, std::uint64_t steps,
                       double gradient_scale) {
  const double rate = LearningRate(config, step, steps);
  return {.gradient_scale = static_cast<float>(gradient_scale),
          .beta1 = static_cast<float>(config.beta1),
          .one_minus_beta1 = static_cast<float>(1 - config.beta1),
          .beta2 = static_cast<float>(config.beta2),
          .one_minus_beta2 = static_cast<float>(1 - config.beta2),
          .step_size = static_cast<float>(rate / (1 - Power(config.beta1, step + 1))),
          .sqrt_correction2 = static_cast<float>(1 / std::sqrt(1 - Power(config.beta2, step + 1))),
          .epsilon = static_cast<float>(config.epsilon),
          .decay_factor = static_cast<float>(1 - rate * config.weight_decay)};
}

}  // namespace muster
