// The byte GPT on a GPU: the same tensors and the same sequences as gpt.h, a micro-batch of
// `sequences` of them at a time, in f32 or bf16.  Matmuls are cuBLASLt's, the rest
// libmuster_cuda's; attention keeps its probabilities (batched matmuls and a softmax).
//
// Everything goes into the device's compute stream; one thread.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "examples/byte_gpt/gpt.h"
#include "runtime/gpu/device_cuda.h"
#include "runtime/train/gpu_model.h"

namespace muster {

struct GpuGptConfig {
  GptConfig gpt;
  std::size_t sequences = 1;  // Of a micro-batch.
  bool bf16 = false;
  std::size_t places = 1;   // Micro-batches of this rank in a step.
  std::uint64_t seed = 42;  // Of the data's order.
};

class GpuGpt final : public GpuModel {
 public:
  // The device and the text outlive it.  kExhausted: the activations do not fit.
  static Result<std::unique_ptr<GpuGpt>> Make(const GpuGptConfig& config, std::string_view text,
                                              GpuDevice& device);

  std::vector<TensorSpec> Tensors() const override { return GptTensors(config_.gpt); }
  void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const override {
    InitializeGpt(config_.gpt, seed, layout, parameters);
  }
  Status Gradient(const Call& call, const Layout& layout, Backward& backward) override;
  std::uint64_t tokens_per_micro_batch() const override {
    return config_.sequences * config_.gpt.context;
  }

 private:
  // Memory of the GPU, in elements of the model's type.
  using Tensor = std::byte*;
  struct Norm {
    Tensor out = nullptr;
    float* mean = nullptr;
    float* rstd = nullptr;
  };
  struct Block {
    Norm norm1, norm2;
    Tensor heads = nullptr;  // Queries, keys and values by head.
    Tensor probabilities = nullptr, mixed = nullptr, middle = nullptr;
    Tensor wide = nullptr, active = nullptr, out = nullptr;
  };

  GpuGpt(const GpuGptConfig& config, std::string_view text, GpuDevice& device)
      : config_(config), text_(text), device_(device) {}
  Status Open();
  Status Take(std::size_t elements, Tensor* into);
  Status TakeNorm(Norm* norm);
  void Draw(const Call& call);

  // ---- Each puts something into the stream, unless something failed before ----
  const std::byte* Forward(const std::vector<Tensor>& weights);
  void Loss(const Call& call, float scale, const std::byte* table);
  void LossBackward(const std::byte* table, Tensor d_table);
  void EmbedBackward(Tensor d_table, Tensor d_positions);
  void ForwardBlock(const Tensor* weights, const std::byte* in, Block& block);
  void BackwardBlock(const Tensor* weights, const Tensor* gradients, const std::byte* in,
                     const Block& block);
  void Attention(Block& block);
  void AttentionBackward(const Block& block);
  void Normalize(const std::byte* in, const std::byte* weight, const std::byte* bias, Norm& norm);
  void NormalizeBackward(const std::byte* d_out, const std::byte* in, const std::byte* weight,
                         const Norm& norm, const Tensor* d_weight_and_bias);
  // out = in * weight^T + bias (+ residual).
  void Linear(std::size_t in_width, std::size_t out_width, const std::byte* in,
              const Tensor* weight_and_bias, const std::byte* residual, Tensor out);
  void LinearBackward(std::size_t in_width, std::size_t out_width, const std::byte* d_out,
                      const std::byte* in, const Tensor* weight, const Tensor* d_weight_and_bias,
                      Tensor d_in);
  void MatMul(muster_gpu_matmul_call call);
  void Heads(std::size_t parts, bool back, const std::byte* from, Tensor to);
  void Do(const char* what, int error);

  std::size_t rows() const { return config_.sequences * config_.gpt.context; }
  std::size_t size() const { return config_.bf16 ? 2 : 4; }
  int bf16() const { return config_.bf16 ? 1 : 0; }
  std::vector<Tensor> Pointers(const Layout& layout, const void* base) const;

  const GpuGptConfig config_;
  const std::string_view text_;
  GpuDevice& device_;
  Status failed_;  // The first failure of this micro-batch.

  std::uint8_t* drawn_ = nullptr;   // Pinned: for each place tokens, then targets.
  std::uint8_t* tokens_ = nullptr;  // Of the micro-batch: tokens, then targets.
  Tensor embedded_ = nullptr, logits_ = nullptr, one_hot_ = nullptr;
  Norm last_;
  std::vector<Block> blocks_;
  Tensor qkv_ = nullptr;  // By time; forward, and its gradient on the way back.
  Tensor d_stream_ = nullptr, d_branch_ = nullptr, d_wide_ = nullptr, d_heads_ = nullptr;
  Tensor d_probabilities_ = nullptr;
  float* losses_ = nullptr;
  float* scratch_ = nullptr;
  void* workspace_ = nullptr;
};

}  // namespace muster
