#include "runtime/train/optimizer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/base/text.h"

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

const char* NameOf(Schedule schedule) {
  static constexpr const char* kNames[] = {"constant", "linear", "cosine"};
  return kNames[static_cast<std::size_t>(schedule)];
}

Status Check(const OptimizerConfig& config) {
  std::vector<std::string> wrong;
  const auto need = [&](bool right, const char* name, double found, const char* allowed) {
    if (right) return;
    wrong.push_back(std::string(name) + " is " + std::to_string(found) + ", allowed is " + allowed);
  };
  const auto finite = [](double value) { return std::isfinite(value); };
  const OptimizerConfig& c = config;
  need(finite(c.learning_rate) && c.learning_rate > 0, "the learning rate", c.learning_rate,
       "more than 0");
  need(c.beta1 >= 0 && c.beta1 < 1, "beta1", c.beta1, "0 to less than 1");
  need(c.beta2 >= 0 && c.beta2 < 1, "beta2", c.beta2, "0 to less than 1");
  need(finite(c.epsilon) && c.epsilon > 0, "epsilon", c.epsilon, "more than 0");
  need(finite(c.weight_decay) && c.weight_decay >= 0, "the weight decay", c.weight_decay,
       "0 or more");
  need(finite(c.clip_norm) && c.clip_norm >= 0, "the norm to clip to", c.clip_norm,
       "more than 0, or 0 for no clipping");
  need(c.final_fraction >= 0 && c.final_fraction <= 1, "the final fraction", c.final_fraction,
       "0 to 1");
  return wrong.empty() ? Status() : Status(Code::kInvalid, Join(wrong, "; "));
}

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
  if (config.schedule == Schedule::kConstant) return config.learning_rate;
  const double rest = static_cast<double>(steps) - warmup;
  const double done = rest > 0 ? std::min(1.0, (at - warmup) / rest) : 1.0;
  const double low = config.learning_rate * config.final_fraction;
  const double left = config.schedule == Schedule::kLinear ? 1 - done : 0.5 * (1 + CosPi(done));
  return low + (config.learning_rate - low) * left;
}

double TreeSum(std::span<const double> partials) {
  if (partials.empty()) return 0;
  if (partials.size() == 1) return partials[0];
  const std::size_t half = std::bit_ceil(partials.size()) / 2;
  return TreeSum(partials.first(half)) + TreeSum(partials.subspan(half));
}

double GradientScale(const OptimizerConfig& config, double sum_of_squares,
                     std::uint32_t micro_batches, double loss_scale) {
  const double parts = micro_batches * loss_scale;
  const double norm = std::sqrt(sum_of_squares) / parts;
  const double mean = 1.0 / parts;
  return config.clip_norm > 0 && norm > config.clip_norm ? mean * (config.clip_norm / norm) : mean;
}

AdamWUpdate MakeUpdate(const OptimizerConfig& config, std::uint64_t step, std::uint64_t steps,
                       double gradient_scale, std::uint64_t updates) {
  const double rate = LearningRate(config, step, steps);
  return {
      .gradient_scale = static_cast<float>(gradient_scale),
      .beta1 = static_cast<float>(config.beta1),
      .one_minus_beta1 = static_cast<float>(1 - config.beta1),
      .beta2 = static_cast<float>(config.beta2),
      .one_minus_beta2 = static_cast<float>(1 - config.beta2),
      .step_size = static_cast<float>(rate / (1 - Power(config.beta1, updates + 1))),
      .sqrt_correction2 = static_cast<float>(1 / std::sqrt(1 - Power(config.beta2, updates + 1))),
      .epsilon = static_cast<float>(config.epsilon),
      .decay_factor = static_cast<float>(1 - rate * config.weight_decay)};
}

}  // namespace muster
