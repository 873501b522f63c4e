#include "examples/byte_gpt/gpt_cuda.h"

#include <cmath>
#include <cstring>

#include "examples/byte_gpt/gpt_parts.h"
#include "runtime/base/check.h"
#include "runtime/comm/collective.h"
#include "runtime/train/sampler.h"

namespace muster {

Result<std::unique_ptr<GpuGpt>> GpuGpt::Make(const GpuGptConfig& config, std::string_view text,
                                             GpuDevice& device) {
  CHECK(config.gpt.width % config.gpt.heads == 0 && text.size() > config.gpt.context);
  std::unique_ptr<GpuGpt> gpt(new GpuGpt(config, text, device));
  RETURN_IF_ERROR(gpt->Open());
  return gpt;
}

Status GpuGpt::Take(std::size_t elements, Tensor* into) {
  auto memory = device_.Allocate(elements * size(), "activations");
  if (!memory.ok()) return std::move(memory).status();
  *into = *memory;
  return {};
}

Status GpuGpt::TakeNorm(Norm* norm) {
  RETURN_IF_ERROR(Take(rows() * config_.gpt.width, &norm->out));
  auto kept = device_.AllocateArray<float>(2 * rows(), "activations");
  if (!kept.ok()) return std::move(kept).status();
  norm->mean = *kept;
  norm->rstd = *kept + rows();
  return {};
}

Status GpuGpt::Open() {
  const GptConfig& gpt = config_.gpt;
  const std::size_t stream = rows() * gpt.width;
  const std::size_t squares = config_.sequences * gpt.heads * gpt.context * gpt.context;
  blocks_.resize(gpt.layers);
  for (Block& block : blocks_) {
    RETURN_IF_ERROR(TakeNorm(&block.norm1));
    RETURN_IF_ERROR(TakeNorm(&block.norm2));
    RETURN_IF_ERROR(Take(3 * stream, &block.heads));
    RETURN_IF_ERROR(Take(squares, &block.probabilities));
    for (Tensor* t : {&block.mixed, &block.middle, &block.out}) RETURN_IF_ERROR(Take(stream, t));
    for (Tensor* t : {&block.wide, &block.active}) RETURN_IF_ERROR(Take(4 * stream, t));
  }
  RETURN_IF_ERROR(TakeNorm(&last_));
  for (Tensor* t : {&embedded_, &d_stream_, &d_branch_}) RETURN_IF_ERROR(Take(stream, t));
  for (Tensor* t : {&qkv_, &d_heads_}) RETURN_IF_ERROR(Take(3 * stream, t));
  RETURN_IF_ERROR(Take(4 * stream, &d_wide_));
  RETURN_IF_ERROR(Take(squares, &d_probabilities_));
  RETURN_IF_ERROR(Take(rows() * gpt.vocabulary, &logits_));
  RETURN_IF_ERROR(Take(rows() * kByteValues, &one_hot_));
  const auto take = [](const auto& memory, auto** into) -> Status {
    if (memory.ok()) *into = *memory;
    return memory.status();
  };
  RETURN_IF_ERROR(take(device_.AllocateArray<float>(rows(), "losses"), &losses_));
  const std::size_t scratch = MUSTER_GPU_ROW_SCRATCH(rows(), 4 * gpt.width);
  RETURN_IF_ERROR(take(device_.AllocateArray<float>(scratch, "partial sums"), &scratch_));
  RETURN_IF_ERROR(take(device_.AllocateArray<std::uint8_t>(2 * rows(), "tokens"), &tokens_));
  auto workspace = device_.Allocate(MUSTER_GPU_MATMUL_WORKSPACE, "matmuls");
  if (!workspace.ok()) return std::move(workspace).status();
  workspace_ = *workspace;
  auto drawn = device_.AllocatePinned(config_.places * 2 * rows(), "tokens");
  if (!drawn.ok()) return std::move(drawn).status();
  drawn_ = reinterpret_cast<std::uint8_t*>(*drawn);
  return {};
}

void GpuGpt::Do(const char* what, int error) {
  if (failed_.ok()) failed_ = device_.Check(what, error);
}

std::vector<GpuGpt::Tensor> GpuGpt::Pointers(const Layout& layout, const void* base) const {
  auto* begin = static_cast<std::byte*>(const_cast<void*>(base));
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    all.push_back(begin + layout.offset(i) * size());
  }
  return all;
}

// The sequences that the host's model would get, were each a micro-batch.
void GpuGpt::Draw(const Call& call) {
  CHECK(call.place < config_.places);
  std::uint8_t* const tokens = drawn_ + std::size_t{call.place} * 2 * rows();
  const std::size_t context = config_.gpt.context;
  for (std::size_t s = 0; s < config_.sequences; ++s) {
    const auto number = static_cast<std::uint32_t>(call.at.index * config_.sequences + s);
    const std::size_t first =
        SampleIndex(config_.seed, call.at.step, number, text_.size() - context);
    std::memcpy(tokens + s * context, text_.data() + first, context);
    std::memcpy(tokens + rows() + s * context, text_.data() + first + 1, context);
  }
  const Status copied = device_.Copy(tokens_, tokens, 2 * rows(), device_.compute());
  if (failed_.ok()) failed_ = copied;
}

Status GpuGpt::Gradient(const Call& call, const Layout& layout, Backward& backward) {
  failed_ = {};
  const GptConfig& gpt = config_.gpt;
  const std::size_t last = kFirstBlock + gpt.layers * kParts;
  const std::vector<Tensor> weights = Pointers(layout, call.weights);
  const std::vector<Tensor> gradients = Pointers(layout, call.gradient);
  Draw(call);
  const std::byte* const out = Forward(weights);
  Loss(call, backward.loss_scale(), weights[kTokens]);
  backward.Begin();
  LossBackward(weights[kTokens], gradients[kTokens]);
  NormalizeBackward(d_branch_, out, weights[last], last_, &gradients[last]);
  backward.Final(last + 1);
  backward.Final(last);
  for (std::size_t layer = gpt.layers; layer-- > 0;) {
    const std::size_t first = kFirstBlock + layer * kParts;
    BackwardBlock(&weights[first], &gradients[first],
                  layer == 0 ? embedded_ : blocks_[layer - 1].out, blocks_[layer]);
    for (std::size_t part = kParts; part-- > 0;) backward.Final(first + part);
  }
  EmbedBackward(gradients[kTokens], gradients[kPositions]);
  backward.Final(kPositions);
  backward.Final(kTokens);  // Tied: the head wrote it first.
  return failed_;
}

// What the last block gave.
const std::byte* GpuGpt::Forward(const std::vector<Tensor>& weights) {
  const GptConfig& gpt = config_.gpt;
  const muster_gpu_embed_call embed{.rows = rows(),
                                    .context = gpt.context,
                                    .width = gpt.width,
                                    .bf16 = bf16(),
                                    .tokens = tokens_,
                                    .table = weights[kTokens],
                                    .positions = weights[kPositions],
                                    .out = embedded_};
  Do("embedding", device_.kernels().embed(&embed, device_.compute()));
  const std::byte* in = embedded_;
  for (std::size_t layer = 0; layer < gpt.layers; ++layer) {
    ForwardBlock(&weights[kFirstBlock + layer * kParts], in, blocks_[layer]);
    in = blocks_[layer].out;
  }
  const std::size_t last = kFirstBlock + gpt.layers * kParts;
  Normalize(in, weights[last], weights[last + 1], last_);
  return in;
}

// logits_ becomes the loss's gradient.
void GpuGpt::Loss(const Call& call, float scale, const std::byte* table) {
  const std::size_t vocabulary = config_.gpt.vocabulary;
  MatMul({.m = rows(),
          .n = vocabulary,
          .k = config_.gpt.width,
          .transpose_b = 1,
          .a = last_.out,
          .b = table,
          .c = logits_});
  const muster_gpu_cross_entropy_call entropy{.rows = rows(),
                                              .width = vocabulary,
                                              .bf16 = bf16(),
                                              .scale = scale,
                                              .targets = tokens_ + rows(),
                                              .logits = logits_,
                                              .losses = losses_,
                                              .mean = call.loss};
  Do("the loss", device_.kernels().cross_entropy(&entropy, device_.compute()));
}

void GpuGpt::LossBackward(const std::byte* table, Tensor d_table) {
  const std::size_t c = config_.gpt.width;
  const std::size_t vocabulary = config_.gpt.vocabulary;
  MatMul({.m = rows(), .n = c, .k = vocabulary, .a = logits_, .b = table, .c = d_branch_});
  MatMul({.m = vocabulary,
          .n = c,
          .k = rows(),
          .transpose_a = 1,
          .a = logits_,
          .b = last_.out,
          .c = d_table});
  Do("zeroing",
     device_.cuda().api().memset_async(d_stream_, 0, rows() * c * size(), device_.compute()));
}

void GpuGpt::EmbedBackward(Tensor d_table, Tensor d_positions) {
  const std::size_t c = config_.gpt.width;
  const std::size_t n = config_.gpt.context * c;
  const DType dtype = config_.bf16 ? DType::kBF16 : DType::kF32;
  Do("positions",
     device_.kernels().reduce(static_cast<int>(dtype), static_cast<int>(ReduceOp::kSum), d_stream_,
                              n, config_.sequences, d_positions, n, device_.compute()));
  // The embedding's gradient is a product with what chose its rows: sums without atomics.
  Do("tokens", device_.kernels().one_hot(tokens_, rows(), bf16(), one_hot_, device_.compute()));
  MatMul({.m = kByteValues,
          .n = c,
          .k = rows(),
          .transpose_a = 1,
          .accumulate = 1,
          .a = one_hot_,
          .b = d_stream_,
          .c = d_table});
}

void GpuGpt::ForwardBlock(const Tensor* weights, const std::byte* in, Block& block) {
  const std::size_t c = config_.gpt.width;
  Normalize(in, weights[kNorm1Weight], weights[kNorm1Bias], block.norm1);
  Linear(c, 3 * c, block.norm1.out, &weights[kQkvWeight], nullptr, qkv_);
  Attention(block);
  Linear(c, c, block.mixed, &weights[kMixWeight], in, block.middle);
  Normalize(block.middle, weights[kNorm2Weight], weights[kNorm2Bias], block.norm2);
  Linear(c, 4 * c, block.norm2.out, &weights[kWideWeight], nullptr, block.wide);
  Do("GELU",
     device_.kernels().gelu(block.wide, rows() * 4 * c, bf16(), block.active, device_.compute()));
  Linear(4 * c, c, block.active, &weights[kOutWeight], block.middle, block.out);
}

// d_stream_ holds the gradient by the block's output before, and by its input after.
void GpuGpt::BackwardBlock(const Tensor* weights, const Tensor* gradients, const std::byte* in,
                           const Block& block) {
  const std::size_t c = config_.gpt.width;
  LinearBackward(4 * c, c, d_stream_, block.active, &weights[kOutWeight], &gradients[kOutWeight],
                 d_wide_);
  Do("GELU", device_.kernels().gelu_backward(block.wide, rows() * 4 * c, bf16(), d_wide_,
                                             device_.compute()));
  LinearBackward(c, 4 * c, d_wide_, block.norm2.out, &weights[kWideWeight], &gradients[kWideWeight],
                 d_branch_);
  NormalizeBackward(d_branch_, block.middle, weights[kNorm2Weight], block.norm2,
                    &gradients[kNorm2Weight]);
  LinearBackward(c, c, d_stream_, block.mixed, &weights[kMixWeight], &gradients[kMixWeight],
                 d_branch_);
  AttentionBackward(block);
  LinearBackward(c, 3 * c, qkv_, block.norm1.out, &weights[kQkvWeight], &gradients[kQkvWeight],
                 d_branch_);
  NormalizeBackward(d_branch_, in, weights[kNorm1Weight], block.norm1, &gradients[kNorm1Weight]);
}

void GpuGpt::Attention(Block& block) {
  const GptConfig& gpt = config_.gpt;
  const std::size_t t = gpt.context;
  const std::size_t head = gpt.width / gpt.heads;
  const std::size_t matrices = config_.sequences * gpt.heads;
  const std::size_t third = rows() * gpt.width * size();
  Heads(3 * gpt.heads, false, qkv_, block.heads);
  MatMul({.m = t,
          .n = t,
          .k = head,
          .transpose_b = 1,
          .a = block.heads,
          .b = block.heads + third,
          .c = block.probabilities,
          .batch = matrices});
  Do("softmax", device_.kernels().causal_softmax(block.probabilities, matrices, t,
                                                 1.0F / std::sqrt(static_cast<float>(head)), bf16(),
                                                 device_.compute()));
  // d_branch_ is free on the way there.
  MatMul({.m = t,
          .n = head,
          .k = t,
          .a = block.probabilities,
          .b = block.heads + 2 * third,
          .c = d_branch_,
          .batch = matrices});
  Heads(gpt.heads, true, d_branch_, block.mixed);
}

// d_branch_: the gradient by `mixed`; qkv_ becomes that by queries, keys and values.
void GpuGpt::AttentionBackward(const Block& block) {
  const GptConfig& gpt = config_.gpt;
  const std::size_t t = gpt.context;
  const std::size_t head = gpt.width / gpt.heads;
  const std::size_t matrices = config_.sequences * gpt.heads;
  const std::size_t third = rows() * gpt.width * size();
  Tensor const d_mixed = d_wide_;  // Free by now.
  Heads(gpt.heads, false, d_branch_, d_mixed);
  MatMul({.m = t,
          .n = head,
          .k = t,
          .transpose_a = 1,
          .a = block.probabilities,
          .b = d_mixed,
          .c = d_heads_ + 2 * third,
          .batch = matrices});
  MatMul({.m = t,
          .n = t,
          .k = head,
          .transpose_b = 1,
          .a = d_mixed,
          .b = block.heads + 2 * third,
          .c = d_probabilities_,
          .batch = matrices});
  Do("softmax", device_.kernels().causal_softmax_backward(
                    block.probabilities, d_probabilities_, matrices, t,
                    1.0F / std::sqrt(static_cast<float>(head)), bf16(), device_.compute()));
  MatMul({.m = t,
          .n = head,
          .k = t,
          .a = d_probabilities_,
          .b = block.heads + third,
          .c = d_heads_,
          .batch = matrices});
  MatMul({.m = t,
          .n = head,
          .k = t,
          .transpose_a = 1,
          .a = d_probabilities_,
          .b = block.heads,
          .c = d_heads_ + third,
          .batch = matrices});
  Heads(3 * gpt.heads, true, d_heads_, qkv_);
}

void GpuGpt::Normalize(const std::byte* in, const std::byte* weight, const std::byte* bias,
                       Norm& norm) {
  const muster_gpu_layer_norm_call call{rows(), config_.gpt.width, bf16(),    in,       weight,
                                        bias,   norm.out,          norm.mean, norm.rstd};
  Do("layer norm", device_.kernels().layer_norm(&call, device_.compute()));
}

void GpuGpt::NormalizeBackward(const std::byte* d_out, const std::byte* in, const std::byte* weight,
                               const Norm& norm, const Tensor* d_weight_and_bias) {
  const muster_gpu_layer_norm_backward_call call{.rows = rows(),
                                                 .width = config_.gpt.width,
                                                 .bf16 = bf16(),
                                                 .d_out = d_out,
                                                 .in = in,
                                                 .weight = weight,
                                                 .mean = norm.mean,
                                                 .rstd = norm.rstd,
                                                 .d_in = d_stream_,
                                                 .d_weight = d_weight_and_bias[0],
                                                 .d_bias = d_weight_and_bias[1],
                                                 .scratch = scratch_};
  Do("layer norm", device_.kernels().layer_norm_backward(&call, device_.compute()));
}

// NOLINTNEXTLINE(readability-function-size): a layer names each array.
void GpuGpt::Linear(std::size_t in_width, std::size_t out_width, const std::byte* in,
                    const Tensor* weight_and_bias, const std::byte* residual, Tensor out) {
  MatMul({.m = rows(),
          .n = out_width,
          .k = in_width,
          .transpose_b = 1,
          .a = in,
          .b = weight_and_bias[0],
          .c = out,
          .bias = weight_and_bias[1],
          .residual = residual});
}

// NOLINTNEXTLINE(readability-function-size): a layer names each array.
void GpuGpt::LinearBackward(std::size_t in_width, std::size_t out_width, const std::byte* d_out,
                            const std::byte* in, const Tensor* weight,
                            const Tensor* d_weight_and_bias, Tensor d_in) {
  const muster_gpu_sum_rows_call sum{rows(),  out_width, bf16(), d_out, d_weight_and_bias[1],
                                     scratch_};
  Do("a bias", device_.kernels().sum_rows(&sum, device_.compute()));
  MatMul({.m = out_width,
          .n = in_width,
          .k = rows(),
          .transpose_a = 1,
          .a = d_out,
          .b = in,
          .c = d_weight_and_bias[0]});
  MatMul({.m = rows(), .n = in_width, .k = out_width, .a = d_out, .b = weight[0], .c = d_in});
}

void GpuGpt::MatMul(muster_gpu_matmul_call call) {
  call.bf16 = bf16();
  Do("a matrix product", device_.kernels().matmul(&call, workspace_, device_.compute()));
}

void GpuGpt::Heads(std::size_t parts, bool back, const std::byte* from, Tensor to) {
  const GptConfig& gpt = config_.gpt;
  const muster_gpu_heads_call call{
      config_.sequences, gpt.context, parts, gpt.width / gpt.heads, bf16(), back ? 1 : 0, from, to};
  Do("heads", device_.kernels().heads(&call, device_.compute()));
}

}  // namespace muster
