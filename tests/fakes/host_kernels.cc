#include "tests/fakes/host_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace muster::host {
namespace {

Values Of(const void* memory, int bf16) {
  return {const_cast<void*>(memory), bf16 != 0};
}

constexpr std::size_t kBytes = 256;
constexpr float kGeluScale = 0.7978845608F;
constexpr float kGeluCube = 0.044715F;

float Gate(float x) {
  const float u = kGeluScale * (x + kGeluCube * x * x * x);
  return 1.0F / (1.0F + std::exp(-2.0F * u));
}

}  // namespace

float FromBF16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

std::uint16_t ToBF16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

float Values::Get(std::size_t i) const {
  return bf16 ? FromBF16(static_cast<const std::uint16_t*>(memory)[i])
              : static_cast<const float*>(memory)[i];
}

void Values::Put(std::size_t i, float value) const {
  if (bf16) {
    static_cast<std::uint16_t*>(memory)[i] = ToBF16(value);
  } else {
    static_cast<float*>(memory)[i] = value;
  }
}

void MatMul(const muster_gpu_matmul_call& c) {
  const Values a = Of(c.a, c.bf16), b = Of(c.b, c.bf16), out = Of(c.c, c.bf16);
  const Values bias = Of(c.bias, c.bf16), residual = Of(c.residual, c.bf16);
  for (std::size_t batch = 0; batch < std::max<std::size_t>(c.batch, 1); ++batch) {
    const std::size_t at_a = batch * c.m * c.k, at_b = batch * c.k * c.n, at_c = batch * c.m * c.n;
    for (std::size_t i = 0; i < c.m; ++i) {
      for (std::size_t j = 0; j < c.n; ++j) {
        float sum = 0;
        for (std::size_t k = 0; k < c.k; ++k) {
          const float x = a.Get(at_a + (c.transpose_a != 0 ? k * c.m + i : i * c.k + k));
          sum += x * b.Get(at_b + (c.transpose_b != 0 ? j * c.k + k : k * c.n + j));
        }
        const std::size_t at = at_c + i * c.n + j;
        if (c.accumulate != 0) sum += out.Get(at);
        if (c.residual != nullptr) sum += residual.Get(at);
        if (c.bias != nullptr) sum += bias.Get(j);
        out.Put(at, sum);
      }
    }
  }
}

void Embed(const muster_gpu_embed_call& c) {
  const Values table = Of(c.table, c.bf16), positions = Of(c.positions, c.bf16);
  for (std::size_t row = 0; row < c.rows; ++row) {
    for (std::size_t i = 0; i < c.width; ++i) {
      Of(c.out, c.bf16)
          .Put(row * c.width + i, table.Get(c.tokens[row] * c.width + i) +
                                      positions.Get(row % c.context * c.width + i));
    }
  }
}

void OneHot(const std::uint8_t* tokens, std::size_t rows, Values out) {
  for (std::size_t i = 0; i < rows * kBytes; ++i) {
    out.Put(i, tokens[i / kBytes] == i % kBytes ? 1.0F : 0.0F);
  }
}

void LayerNorm(const muster_gpu_layer_norm_call& c) {
  const Values in = Of(c.in, c.bf16), weight = Of(c.weight, c.bf16), bias = Of(c.bias, c.bf16);
  const float inverse = 1.0F / static_cast<float>(c.width);
  for (std::size_t row = 0; row < c.rows; ++row) {
    const std::size_t at = row * c.width;
    float sum = 0, squares = 0;
    for (std::size_t i = 0; i < c.width; ++i) sum += in.Get(at + i);
    const float mean = sum * inverse;
    for (std::size_t i = 0; i < c.width; ++i) {
      squares += (in.Get(at + i) - mean) * (in.Get(at + i) - mean);
    }
    const float rstd = 1.0F / std::sqrt(squares * inverse + 1e-5F);
    for (std::size_t i = 0; i < c.width; ++i) {
      Of(c.out, c.bf16).Put(at + i, (in.Get(at + i) - mean) * rstd * weight.Get(i) + bias.Get(i));
    }
    c.mean[row] = mean;
    c.rstd[row] = rstd;
  }
}

void LayerNormBackward(const muster_gpu_layer_norm_backward_call& c) {
  const Values in = Of(c.in, c.bf16), d_out = Of(c.d_out, c.bf16), weight = Of(c.weight, c.bf16);
  const Values d_in = Of(c.d_in, c.bf16);
  const float inverse = 1.0F / static_cast<float>(c.width);
  std::vector<float> weights(c.width), biases(c.width);
  for (std::size_t row = 0; row < c.rows; ++row) {
    const std::size_t at = row * c.width;
    const auto normal = [&](std::size_t i) { return (in.Get(at + i) - c.mean[row]) * c.rstd[row]; };
    float mean_d = 0, mean_dx = 0;
    for (std::size_t i = 0; i < c.width; ++i) {
      const float d = d_out.Get(at + i) * weight.Get(i);
      mean_d += d * inverse;
      mean_dx += d * normal(i) * inverse;
      weights[i] += d_out.Get(at + i) * normal(i);
      biases[i] += d_out.Get(at + i);
    }
    for (std::size_t i = 0; i < c.width; ++i) {
      const float d = d_out.Get(at + i) * weight.Get(i) - mean_d - normal(i) * mean_dx;
      d_in.Put(at + i, d_in.Get(at + i) + d * c.rstd[row]);
    }
  }
  for (std::size_t i = 0; i < c.width; ++i) {
    Of(c.d_weight, c.bf16).Put(i, weights[i]);
    Of(c.d_bias, c.bf16).Put(i, biases[i]);
  }
}

void SumRows(const muster_gpu_sum_rows_call& c) {
  for (std::size_t i = 0; i < c.width; ++i) {
    float sum = 0;
    for (std::size_t row = 0; row < c.rows; ++row) {
      sum += Of(c.in, c.bf16).Get(row * c.width + i);
    }
    Of(c.out, c.bf16).Put(i, sum);
  }
}

void Gelu(Values in, std::size_t n, Values out) {
  for (std::size_t i = 0; i < n; ++i) out.Put(i, in.Get(i) * Gate(in.Get(i)));
}

void GeluBackward(Values in, std::size_t n, Values d) {
  for (std::size_t i = 0; i < n; ++i) {
    const float x = in.Get(i);
    const float s = Gate(x);
    const float slope = 2.0F * kGeluScale * (1.0F + 3.0F * kGeluCube * x * x);
    d.Put(i, d.Get(i) * (s + x * (s * (1.0F - s)) * slope));
  }
}

void Heads(const muster_gpu_heads_call& c) {
  const Values from = Of(c.from, c.bf16), to = Of(c.to, c.bf16);
  for (std::size_t by_part = 0; by_part < c.parts * c.batch * c.context * c.head; ++by_part) {
    const std::size_t time = by_part / c.head;  // With sequence and part.
    const std::size_t sequence = time / c.context;
    const std::size_t row = sequence % c.batch * c.context + time % c.context;
    const std::size_t by_time = (row * c.parts + sequence / c.batch) * c.head + by_part % c.head;
    if (c.back != 0) {
      to.Put(by_time, from.Get(by_part));
    } else {
      to.Put(by_part, from.Get(by_time));
    }
  }
}

void CausalSoftmax(Values scores, std::size_t matrices, std::size_t size, float scale) {
  for (std::size_t row = 0; row < matrices * size; ++row) {
    const std::size_t at = row * size, n = row % size + 1;
    float most = -INFINITY, sum = 0;
    for (std::size_t i = 0; i < n; ++i) most = std::fmax(most, scale * scores.Get(at + i));
    for (std::size_t i = 0; i < n; ++i) sum += std::exp(scale * scores.Get(at + i) - most);
    for (std::size_t i = 0; i < size; ++i) {
      scores.Put(at + i, i < n ? std::exp(scale * scores.Get(at + i) - most) / sum : 0.0F);
    }
  }
}

void CausalSoftmaxBackward(Values probabilities, Values d, std::size_t matrices, std::size_t size,
                           float scale) {
  for (std::size_t row = 0; row < matrices * size; ++row) {
    const std::size_t at = row * size, n = row % size + 1;
    float dot = 0;
    for (std::size_t i = 0; i < n; ++i) dot += probabilities.Get(at + i) * d.Get(at + i);
    for (std::size_t i = 0; i < size; ++i) {
      const float slope = probabilities.Get(at + i) * (d.Get(at + i) - dot);
      d.Put(at + i, i < n ? scale * slope : 0.0F);
    }
  }
}

void CrossEntropy(const muster_gpu_cross_entropy_call& c) {
  const Values logits = Of(c.logits, c.bf16);
  double all = 0;
  for (std::size_t row = 0; row < c.rows; ++row) {
    const std::size_t at = row * c.width, target = c.targets[row];
    float most = -INFINITY, sum = 0;
    for (std::size_t i = 0; i < c.width; ++i) most = std::fmax(most, logits.Get(at + i));
    for (std::size_t i = 0; i < c.width; ++i) sum += std::exp(logits.Get(at + i) - most);
    c.losses[row] = std::log(sum) + (most - logits.Get(at + target));
    all += static_cast<double>(c.losses[row]);
    for (std::size_t i = 0; i < c.width; ++i) {
      const float p = std::exp(logits.Get(at + i) - most) / sum;
      logits.Put(at + i, (i == target ? p - 1.0F : p) * c.scale / static_cast<float>(c.rows));
    }
  }
  *c.mean = static_cast<float>(all / static_cast<double>(c.rows));
}

}  // namespace muster::host
