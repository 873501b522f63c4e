#include "examples/byte_gpt/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "runtime/comm/clones.h"

#define MUSTER_INLINE __attribute__((always_inline)) inline

namespace muster {
namespace {

constexpr std::size_t kLanes = 16;

// Cephes' expf, without fused operations.
MUSTER_INLINE float ExpOf(float x) {
  x = std::min(std::max(x, -87.0F), 88.0F);
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer.
  const float n = (x * 1.44269504F + kRound) - kRound;
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23U);
}

// Sixteen lanes, then a fixed tree.  `term(i)` is the i-th summand.
template <typename Term>
MUSTER_INLINE float LaneSum(std::size_t n, Term term) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < n; ++i) lanes[i % kLanes] += term(i);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// Two at once.
template <typename Term>
MUSTER_INLINE std::pair<float, float> LaneSums(std::size_t n, Term term) {
  float first[kLanes] = {};
  float second[kLanes] = {};
  const auto add = [&](std::size_t lane, std::size_t i) __attribute__((always_inline)) {
    const auto [a, b] = term(i);
    first[lane] += a;
    second[lane] += b;
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(lane, i + lane);
  }
  for (; i < n; ++i) add(i % kLanes, i);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      first[lane] += first[lane + width];
      second[lane] += second[lane + width];
    }
  }
  return {first[0], second[0]};
}

MUSTER_INLINE float RowMax(std::size_t n, const float* row) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = row[0];
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = lanes[lane] < row[i + lane] ? row[i + lane] : lanes[lane];
    }
  }
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], row[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

// row = exp(row - max); returns the sum.
MUSTER_INLINE float ExpRow(std::size_t n, float max, float* row) {
  for (std::size_t i = 0; i < n; ++i) row[i] = ExpOf(row[i] - max);
  return LaneSum(n, [row](std::size_t i) { return row[i]; });
}

constexpr float kGeluScale = 0.7978845608F;  // sqrt(2 / pi)
constexpr float kGeluCube = 0.044715F;

}  // namespace

// NOLINTNEXTLINE(readability-function-size): a kernel names each array.
MUSTER_CLONES void LayerNorm(std::size_t rows, std::size_t width, const float* __restrict in,
                             const float* __restrict weight, const float* __restrict bias,
                             float* __restrict out, float* __restrict mean,
                             float* __restrict rstd) {
  const float inverse = 1.0F / static_cast<float>(width);
  for (std::size_t row = 0; row < rows; ++row, in += width, out += width) {
    const float m = LaneSum(width, [in](std::size_t i) { return in[i]; }) * inverse;
    const float variance =
        LaneSum(width, [in, m](std::size_t i) { return (in[i] - m) * (in[i] - m); }) * inverse;
    const float r = 1.0F / std::sqrt(variance + 1e-5F);
    for (std::size_t i = 0; i < width; ++i) out[i] = (in[i] - m) * r * weight[i] + bias[i];
    mean[row] = m;
    rstd[row] = r;
  }
}

// NOLINTNEXTLINE(readability-function-size): a kernel names each array.
MUSTER_CLONES void LayerNormBackward(std::size_t rows, std::size_t width,
                                     const float* __restrict d_out, const float* __restrict in,
                                     const float* __restrict weight, const float* __restrict mean,
                                     const float* __restrict rstd, float* __restrict d_in,
                                     float* __restrict d_weight, float* __restrict d_bias) {
  std::fill_n(d_weight, width, 0.0F);
  std::fill_n(d_bias, width, 0.0F);
  const float inverse = 1.0F / static_cast<float>(width);
  for (std::size_t row = 0; row < rows; ++row, d_out += width, in += width, d_in += width) {
    const float m = mean[row];
    const float r = rstd[row];
    const auto [sum_d, sum_dx] = LaneSums(width, [&](std::size_t i) {
      const float d = d_out[i] * weight[i];
      return std::pair(d, d * ((in[i] - m) * r));
    });
    const float mean_d = sum_d * inverse;
    const float mean_dx = sum_dx * inverse;
    for (std::size_t i = 0; i < width; ++i) {
      const float normal = (in[i] - m) * r;
      d_in[i] += (d_out[i] * weight[i] - mean_d - normal * mean_dx) * r;
      d_weight[i] += d_out[i] * normal;
      d_bias[i] += d_out[i];
    }
  }
}

MUSTER_CLONES void Gelu(std::size_t n, const float* __restrict in, float* __restrict out,
                        float* __restrict gate) {
  for (std::size_t i = 0; i < n; ++i) {
    const float x = in[i];
    const float u = kGeluScale * (x + kGeluCube * x * x * x);
    const float s = 1.0F / (1.0F + ExpOf(-2.0F * u));  // (1 + tanh u) / 2
    gate[i] = s;
    out[i] = x * s;
  }
}

MUSTER_CLONES void GeluBackward(std::size_t n, const float* __restrict in,
                                const float* __restrict gate, float* __restrict d) {
  for (std::size_t i = 0; i < n; ++i) {
    const float x = in[i];
    const float s = gate[i];
    const float slope = 2.0F * kGeluScale * (1.0F + 3.0F * kGeluCube * x * x);
    d[i] *= s + x * (s * (1.0F - s)) * slope;
  }
}

MUSTER_CLONES void CausalSoftmax(std::size_t size, float* scores) {
  for (std::size_t row = 0; row < size; ++row, scores += size) {
    const std::size_t n = row + 1;
    const float max = RowMax(n, scores);
    // Whole vectors: what is behind the diagonal becomes 0, whatever it was.
    const std::size_t whole = std::min(size, (n + kLanes - 1) / kLanes * kLanes);
    for (std::size_t i = 0; i < whole; ++i) scores[i] = i < n ? ExpOf(scores[i] - max) : 0.0F;
    const float scale = 1.0F / LaneSum(whole, [scores](std::size_t i) { return scores[i]; });
    for (std::size_t i = 0; i < whole; ++i) scores[i] *= scale;
    for (std::size_t i = whole; i < size; ++i) scores[i] = 0;
  }
}

MUSTER_CLONES void CausalSoftmaxBackward(std::size_t size, const float* __restrict probabilities,
                                         float* __restrict d_scores) {
  for (std::size_t row = 0; row < size; ++row, probabilities += size, d_scores += size) {
    const float dot =
        LaneSum(row + 1, [&](std::size_t i) { return probabilities[i] * d_scores[i]; });
    // Behind the diagonal the probabilities are 0, and so is the gradient.
    for (std::size_t i = 0; i < size; ++i) d_scores[i] = probabilities[i] * (d_scores[i] - dot);
  }
}

MUSTER_CLONES float CrossEntropy(std::size_t rows, std::size_t width, const std::uint8_t* targets,
                                 float* logits) {
  double loss = 0;
  const float share = 1.0F / static_cast<float>(rows);
  for (std::size_t row = 0; row < rows; ++row, logits += width) {
    const float target = logits[targets[row]];
    const float max = RowMax(width, logits);
    const float sum = ExpRow(width, max, logits);
    loss += NaturalLog(static_cast<double>(sum)) + static_cast<double>(max - target);
    const float scale = share / sum;
    for (std::size_t i = 0; i < width; ++i) logits[i] *= scale;
    logits[targets[row]] -= share;
  }
  return static_cast<float>(loss / static_cast<double>(rows));
}

MUSTER_CLONES void FillRows(std::size_t rows, std::size_t width, const float* __restrict bias,
                            float* __restrict out) {
  for (std::size_t row = 0; row < rows; ++row, out += width) std::copy_n(bias, width, out);
}

MUSTER_CLONES void FillRows(std::size_t rows, std::size_t width, const float* __restrict bias,
                            const float* __restrict residual, float* __restrict out) {
  for (std::size_t row = 0; row < rows; ++row, out += width, residual += width) {
    for (std::size_t i = 0; i < width; ++i) out[i] = bias[i] + residual[i];
  }
}

MUSTER_CLONES void Scale(std::size_t n, float by, float* values) {
  if (by == 1) return;
  for (std::size_t i = 0; i < n; ++i) values[i] *= by;
}

MUSTER_CLONES void SumRows(std::size_t rows, std::size_t width, const float* __restrict in,
                           float* __restrict sums) {
  std::fill_n(sums, width, 0.0F);
  for (std::size_t row = 0; row < rows; ++row, in += width) {
    for (std::size_t i = 0; i < width; ++i) sums[i] += in[i];
  }
}

float Exp(float x) {
  return ExpOf(x);
}

double NaturalLog(double x) {
  auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<std::int64_t>(bits >> 52U) - 1023;
  bits = (bits & 0xFFFFFFFFFFFFFU) | (std::uint64_t{1023} << 52U);
  double m = std::bit_cast<double>(bits);  // In [1, 2).
  if (m > 1.41421356) {
    m /= 2;
    ++exponent;
  }
  // log m = 2 artanh(z): |z| < 0.172, so 11 terms reach the last bit.
  const double z = (m - 1) / (m + 1);
  double sum = 0;
  for (int k = 10; k >= 0; --k) sum = sum * (z * z) + 1.0 / (2 * k + 1);
  return 2 * z * sum + static_cast<double>(exponent) * 0.69314718055994530942;
}

}  // namespace muster
