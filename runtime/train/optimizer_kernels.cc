#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "runtime/comm/clones.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/precision.h"

namespace muster {

// A fixed number of lanes, then a fixed tree over them, so that the width of the vectors does not
// show.  So many that their additions do not wait for each other.
MUSTER_CLONES void SquareSum::Add(const float* values, std::size_t n) {
  double lanes[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lanes_[lane];
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double x = values[i + lane];
      lanes[lane] += x * x;
    }
  }
  for (; i < n; ++i) lanes[i % kLanes] += static_cast<double>(values[i]) * values[i];
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes_[lane] = lanes[lane];
}

double SquareSum::Total() const {
  double lanes[kLanes];
  std::copy_n(lanes_, kLanes, lanes);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

double SumOfSquares(const float* values, std::size_t n) {
  SquareSum sum;
  sum.Add(values, n);
  return sum.Total();
}

MUSTER_CLONES void ApplyAdamW(const AdamWUpdate& update, const AdamWSlice& slice) {
  const AdamWUpdate u = update;
  float* __restrict parameters = slice.parameters;
  float* __restrict exp_avg = slice.exp_avg;
  float* __restrict exp_avg_sq = slice.exp_avg_sq;
  const float* __restrict gradient = slice.gradient;
  const float keep = slice.decay ? u.decay_factor : 1.0F;
  const std::size_t n = slice.elements;
  for (std::size_t i = 0; i < n; ++i) {
    const float g = gradient[i] * u.gradient_scale;
    const float m = u.beta1 * exp_avg[i] + u.one_minus_beta1 * g;
    const float v = u.beta2 * exp_avg_sq[i] + u.one_minus_beta2 * (g * g);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    const float denominator = std::sqrt(v) * u.sqrt_correction2 + u.epsilon;
    parameters[i] = parameters[i] * keep - u.step_size * (m / denominator);
  }
}

MUSTER_CLONES void RoundToBF16(float* out, const float* in, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t even = (bits >> 16U) & 1U;
    const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
    const std::uint32_t rounded = nan ? bits | 0x00400000U : bits + 0x7FFFU + even;
    out[i] = std::bit_cast<float>(rounded & 0xFFFF0000U);
  }
}

}  // namespace muster
