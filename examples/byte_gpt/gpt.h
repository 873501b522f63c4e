// A byte-level GPT-2: its tensors, its forward and its backward pass over a few sequences.
//
// Pre-norm blocks, learned positions, embedding and head tied.  Weights are stored (out, in), as
// PyTorch's Linear does.  An instance keeps the activations of its sequences: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/train/backward.h"
#include "runtime/train/layout.h"

namespace muster {

struct GptConfig {
  std::size_t layers = 4;
  std::size_t width = 128;
  std::size_t heads = 4;
  std::size_t context = 64;
  std::size_t vocabulary = 256;  // Rows of the embedding; tokens are bytes in any case.
};

// In order of use.
std::vector<TensorSpec> GptTensors(const GptConfig& config);

// As GPT-2: normal with 0.02, the two projections into the residual stream with 0.02 / sqrt(2 *
// layers), norms 1, biases 0.
void InitializeGpt(const GptConfig& config, std::uint64_t seed, const Layout& layout,
                   float* parameters);

class Gpt {
 public:
  // `sequences`: so many at once, which are equally long.
  explicit Gpt(const GptConfig& config, std::size_t sequences = 1);

  // Logits of the byte after each of `tokens` (one sequence after the other, each of at most
  // `context`), a row of `vocabulary` each.
  std::span<const float> Forward(const Layout& layout, const float* parameters,
                                 std::span<const std::uint8_t> tokens);

  struct Batch {
    std::span<const std::uint8_t> tokens, targets;  // Equally long.
  };
  // Mean loss of predicting targets[i] after the tokens of its sequence up to i; writes its whole
  // gradient, times backward.loss_scale(), and tells tensor by tensor when it is final.
  float Gradient(const Layout& layout, const float* parameters, const Batch& batch, float* gradient,
                 Backward& backward);

 private:
  using Buffer = std::vector<float>;

  struct LayerActivations {
    Buffer norm1, mean1, rstd1, qkv, attention, mixed, middle;
    Buffer norm2, mean2, rstd2, wide, gate, active, out;
  };

  void ForwardBlock(const float* const* weights, const float* in, LayerActivations& a);
  void BackwardBlock(const float* const* weights, float* const* gradients, const float* in,
                     const LayerActivations& a);
  void AttentionForward(LayerActivations& a);
  void AttentionBackward(const LayerActivations& a);
  // out = in * weight^T + bias (+ residual).
  void Linear(std::size_t in_width, std::size_t out_width, const float* in, const float* weight,
              const float* bias, const float* residual, float* out) const;
  void LinearBackward(std::size_t in_width, std::size_t out_width, const float* d_out,
                      const float* in, const float* weight, float* d_weight, float* d_bias,
                      float* d_in) const;

  const GptConfig config_;
  const std::size_t sequences_;
  std::size_t length_ = 0;  // Of each current sequence.
  std::size_t rows_ = 0;    // Of all.
  Buffer embedded_, final_norm_, final_mean_, final_rstd_, logits_;
  std::vector<LayerActivations> layers_;
  Buffer d_stream_, d_branch_, d_wide_, d_qkv_, d_mixed_, d_attention_;
};

}  // namespace muster
