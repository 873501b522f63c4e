#include "examples/byte_gpt/gpt.h"

#include <algorithm>
#include <cmath>

#include "examples/byte_gpt/gemm.h"
#include "examples/byte_gpt/gpt_parts.h"
#include "examples/byte_gpt/kernels.h"
#include "runtime/base/check.h"
#include "runtime/train/sampler.h"

namespace muster {
namespace {

template <typename T>
std::vector<T*> Pointers(const Layout& layout, T* base) {
  std::vector<T*> all;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) all.push_back(base + layout.offset(i));
  return all;
}

}  // namespace

std::vector<TensorSpec> GptTensors(const GptConfig& config) {
  const std::uint64_t c = config.width;
  std::vector<TensorSpec> all = {
      {.name = "wte.weight", .shape = {config.vocabulary, c}, .decay = true},
      {.name = "wpe.weight", .shape = {config.context, c}, .decay = true}};
  for (std::size_t layer = 0; layer < config.layers; ++layer) {
    const std::string block = "h." + std::to_string(layer) + ".";
    all.push_back({.name = block + "ln_1.weight", .shape = {c}});
    all.push_back({.name = block + "ln_1.bias", .shape = {c}});
    all.push_back({.name = block + "attn.qkv.weight", .shape = {3 * c, c}, .decay = true});
    all.push_back({.name = block + "attn.qkv.bias", .shape = {3 * c}});
    all.push_back({.name = block + "attn.proj.weight", .shape = {c, c}, .decay = true});
    all.push_back({.name = block + "attn.proj.bias", .shape = {c}});
    all.push_back({.name = block + "ln_2.weight", .shape = {c}});
    all.push_back({.name = block + "ln_2.bias", .shape = {c}});
    all.push_back({.name = block + "mlp.fc.weight", .shape = {4 * c, c}, .decay = true});
    all.push_back({.name = block + "mlp.fc.bias", .shape = {4 * c}});
    all.push_back({.name = block + "mlp.proj.weight", .shape = {c, 4 * c}, .decay = true});
    all.push_back({.name = block + "mlp.proj.bias", .shape = {c}});
  }
  all.push_back({.name = "ln_f.weight", .shape = {c}});
  all.push_back({.name = "ln_f.bias", .shape = {c}});
  return all;
}

void InitializeGpt(const GptConfig& config, std::uint64_t seed, const Layout& layout,
                   float* parameters) {
  const float residual = 0.02F / std::sqrt(2.0F * static_cast<float>(config.layers));
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    const TensorSpec& spec = layout.tensors()[i];
    float* values = parameters + layout.offset(i);
    if (spec.shape.size() == 1) {
      const bool one = spec.name.find("ln_") != std::string::npos && spec.name.ends_with("weight");
      std::fill_n(values, spec.elements(), one ? 1.0F : 0.0F);
      continue;
    }
    const float scale = spec.name.ends_with("proj.weight") ? residual : 0.02F;
    for (std::size_t e = 0; e < spec.elements(); ++e) values[e] = scale * RandomNormal(seed, i, e);
  }
}

Gpt::Gpt(const GptConfig& config, std::size_t sequences)
    : config_(config), sequences_(sequences), layers_(config.layers) {
  CHECK(config.width % config.heads == 0);
  const std::size_t t = config.context;
  const std::size_t rows = sequences * t;
  const std::size_t stream = rows * config.width;
  for (Buffer* b : {&embedded_, &final_norm_, &d_stream_, &d_branch_, &d_mixed_}) {
    b->resize(stream);
  }
  final_mean_.resize(rows);
  final_rstd_.resize(rows);
  logits_.resize(rows * config_.vocabulary);
  d_wide_.resize(4 * stream);
  d_qkv_.resize(3 * stream);
  d_attention_.resize(t * t);
  for (LayerActivations& a : layers_) {
    for (Buffer* b : {&a.norm1, &a.mixed, &a.middle, &a.norm2, &a.out}) b->resize(stream);
    for (Buffer* b : {&a.mean1, &a.rstd1, &a.mean2, &a.rstd2}) b->resize(rows);
    for (Buffer* b : {&a.wide, &a.gate, &a.active}) b->resize(4 * stream);
    a.qkv.resize(3 * stream);
    a.attention.resize(sequences * config.heads * t * t);
  }
}

std::span<const float> Gpt::Forward(const Layout& layout, const float* parameters,
                                    std::span<const std::uint8_t> tokens) {
  CHECK(!tokens.empty() && tokens.size() % sequences_ == 0);
  rows_ = tokens.size();
  length_ = rows_ / sequences_;
  CHECK(length_ <= config_.context);
  const std::size_t c = config_.width;
  const std::vector<const float*> weights = Pointers(layout, parameters);
  for (std::size_t row = 0; row < rows_; ++row) {
    const float* token = weights[kTokens] + tokens[row] * c;
    const float* position = weights[kPositions] + row % length_ * c;
    for (std::size_t i = 0; i < c; ++i) embedded_[row * c + i] = token[i] + position[i];
  }
  const float* stream = embedded_.data();
  for (std::size_t layer = 0; layer < config_.layers; ++layer) {
    ForwardBlock(&weights[kFirstBlock + layer * kParts], stream, layers_[layer]);
    stream = layers_[layer].out.data();
  }
  const std::size_t last = kFirstBlock + config_.layers * kParts;
  LayerNorm(rows_, c, stream, weights[last], weights[last + 1], final_norm_.data(),
            final_mean_.data(), final_rstd_.data());
  Gemm({rows_, config_.vocabulary, c}, 1, {final_norm_.data(), c}, {weights[kTokens], c, true}, 0,
       logits_.data(), config_.vocabulary);
  return {logits_.data(), rows_ * config_.vocabulary};
}

float Gpt::Gradient(const Layout& layout, const float* parameters, const Batch& batch,
                    float* gradient, Backward& backward) {
  const std::span<const std::uint8_t> tokens = batch.tokens;
  Forward(layout, parameters, tokens);
  const float loss = CrossEntropy(rows_, config_.vocabulary, batch.targets.data(), logits_.data());
  backward.Begin();
  Scale(rows_ * config_.vocabulary, backward.loss_scale(), logits_.data());
  const std::size_t c = config_.width;
  const std::vector<const float*> weights = Pointers(layout, parameters);
  const std::vector<float*> gradients = Pointers(layout, gradient);

  Gemm({rows_, c, config_.vocabulary}, 1, {logits_.data(), config_.vocabulary},
       {weights[kTokens], c}, 0, d_branch_.data(), c);
  Gemm({config_.vocabulary, c, rows_}, 1, {logits_.data(), config_.vocabulary, true},
       {final_norm_.data(), c}, 0, gradients[kTokens], c);
  const std::size_t last = kFirstBlock + config_.layers * kParts;
  std::fill(d_stream_.begin(), d_stream_.end(), 0.0F);
  LayerNormBackward(rows_, c, d_branch_.data(), layers_.back().out.data(), weights[last],
                    final_mean_.data(), final_rstd_.data(), d_stream_.data(), gradients[last],
                    gradients[last + 1]);
  backward.Final(last + 1);
  backward.Final(last);
  for (std::size_t layer = config_.layers; layer-- > 0;) {
    const std::size_t first = kFirstBlock + layer * kParts;
    BackwardBlock(&weights[first], &gradients[first],
                  layer == 0 ? embedded_.data() : layers_[layer - 1].out.data(), layers_[layer]);
    for (std::size_t part = kParts; part-- > 0;) backward.Final(first + part);
  }
  std::fill_n(gradients[kPositions], config_.context * c, 0.0F);
  for (std::size_t row = 0; row < rows_; ++row) {
    float* token = gradients[kTokens] + tokens[row] * c;
    float* position = gradients[kPositions] + row % length_ * c;
    for (std::size_t i = 0; i < c; ++i) token[i] += d_stream_[row * c + i];
    for (std::size_t i = 0; i < c; ++i) position[i] += d_stream_[row * c + i];
  }
  backward.Final(kPositions);
  backward.Final(kTokens);  // Tied: the head wrote it first.
  return loss;
}

void Gpt::ForwardBlock(const float* const* weights, const float* in, LayerActivations& a) {
  const std::size_t c = config_.width;
  LayerNorm(rows_, c, in, weights[kNorm1Weight], weights[kNorm1Bias], a.norm1.data(),
            a.mean1.data(), a.rstd1.data());
  Linear(c, 3 * c, a.norm1.data(), weights[kQkvWeight], weights[kQkvBias], nullptr, a.qkv.data());
  AttentionForward(a);
  Linear(c, c, a.mixed.data(), weights[kMixWeight], weights[kMixBias], in, a.middle.data());
  LayerNorm(rows_, c, a.middle.data(), weights[kNorm2Weight], weights[kNorm2Bias], a.norm2.data(),
            a.mean2.data(), a.rstd2.data());
  Linear(c, 4 * c, a.norm2.data(), weights[kWideWeight], weights[kWideBias], nullptr,
         a.wide.data());
  Gelu(rows_ * 4 * c, a.wide.data(), a.active.data(), a.gate.data());
  Linear(4 * c, c, a.active.data(), weights[kOutWeight], weights[kOutBias], a.middle.data(),
         a.out.data());
}

// d_stream_ holds the gradient by the block's output before, and by its input after.
void Gpt::BackwardBlock(const float* const* weights, float* const* gradients, const float* in,
                        const LayerActivations& a) {
  const std::size_t c = config_.width;
  LinearBackward(4 * c, c, d_stream_.data(), a.active.data(), weights[kOutWeight],
                 gradients[kOutWeight], gradients[kOutBias], d_wide_.data());
  GeluBackward(rows_ * 4 * c, a.wide.data(), a.gate.data(), d_wide_.data());
  LinearBackward(c, 4 * c, d_wide_.data(), a.norm2.data(), weights[kWideWeight],
                 gradients[kWideWeight], gradients[kWideBias], d_branch_.data());
  LayerNormBackward(rows_, c, d_branch_.data(), a.middle.data(), weights[kNorm2Weight],
                    a.mean2.data(), a.rstd2.data(), d_stream_.data(), gradients[kNorm2Weight],
                    gradients[kNorm2Bias]);
  LinearBackward(c, c, d_stream_.data(), a.mixed.data(), weights[kMixWeight], gradients[kMixWeight],
                 gradients[kMixBias], d_mixed_.data());
  AttentionBackward(a);
  LinearBackward(c, 3 * c, d_qkv_.data(), a.norm1.data(), weights[kQkvWeight],
                 gradients[kQkvWeight], gradients[kQkvBias], d_branch_.data());
  LayerNormBackward(rows_, c, d_branch_.data(), in, weights[kNorm1Weight], a.mean1.data(),
                    a.rstd1.data(), d_stream_.data(), gradients[kNorm1Weight],
                    gradients[kNorm1Bias]);
}

void Gpt::AttentionForward(LayerActivations& a) {
  const std::size_t c = config_.width;
  const std::size_t head = c / config_.heads;
  const std::size_t t = length_;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head));
  for (std::size_t i = 0; i < sequences_ * config_.heads; ++i) {
    const std::size_t first = i / config_.heads * t;  // Row of the sequence.
    const std::size_t column = i % config_.heads * head;
    const float* query = a.qkv.data() + first * 3 * c + column;
    float* scores = a.attention.data() + i * t * t;
    Gemm({t, t, head}, scale, {query, 3 * c}, {query + c, 3 * c, true}, 0, scores, t);
    CausalSoftmax(t, scores);
    Gemm({t, head, t}, 1, {scores, t}, {query + 2 * c, 3 * c}, 0,
         a.mixed.data() + first * c + column, c);
  }
}

void Gpt::AttentionBackward(const LayerActivations& a) {
  const std::size_t c = config_.width;
  const std::size_t head = c / config_.heads;
  const std::size_t t = length_;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head));
  for (std::size_t i = 0; i < sequences_ * config_.heads; ++i) {
    const std::size_t first = i / config_.heads * t;
    const std::size_t column = i % config_.heads * head;
    const float* query = a.qkv.data() + first * 3 * c + column;
    const float* probabilities = a.attention.data() + i * t * t;
    const float* d_mixed = d_mixed_.data() + first * c + column;
    float* d_query = d_qkv_.data() + first * 3 * c + column;
    Gemm({t, head, t}, 1, {probabilities, t, true}, {d_mixed, c}, 0, d_query + 2 * c, 3 * c);
    Gemm({t, t, head}, 1, {d_mixed, c}, {query + 2 * c, 3 * c, true}, 0, d_attention_.data(), t);
    CausalSoftmaxBackward(t, probabilities, d_attention_.data());
    Gemm({t, head, t}, scale, {d_attention_.data(), t}, {query + c, 3 * c}, 0, d_query, 3 * c);
    Gemm({t, head, t}, scale, {d_attention_.data(), t, true}, {query, 3 * c}, 0, d_query + c,
         3 * c);
  }
}

// NOLINTNEXTLINE(readability-function-size): a kernel names each array.
void Gpt::Linear(std::size_t in_width, std::size_t out_width, const float* in, const float* weight,
                 const float* bias, const float* residual, float* out) const {
  if (residual == nullptr) {
    FillRows(rows_, out_width, bias, out);
  } else {
    FillRows(rows_, out_width, bias, residual, out);
  }
  Gemm({rows_, out_width, in_width}, 1, {in, in_width}, {weight, in_width, true}, 1, out,
       out_width);
}

// NOLINTNEXTLINE(readability-function-size): a kernel names each array.
void Gpt::LinearBackward(std::size_t in_width, std::size_t out_width, const float* d_out,
                         const float* in, const float* weight, float* d_weight, float* d_bias,
                         float* d_in) const {
  SumRows(rows_, out_width, d_out, d_bias);
  Gemm({out_width, in_width, rows_}, 1, {d_out, out_width, true}, {in, in_width}, 0, d_weight,
       in_width);
  Gemm({rows_, in_width, out_width}, 1, {d_out, out_width}, {weight, in_width}, 0, d_in, in_width);
}

}  // namespace muster
