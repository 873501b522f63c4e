// The other part of libmuster_cuda.so's C interface: what a GPT is made of beside matmuls, forward
// and backward (kernels_abi.h has the rules that hold for every function).
//
// `bf16`: tensors, their gradients and weights are bf16, else f32; what a row keeps for the way
// back is f32, and so is every sum, rounded once.  Tokens are bytes.  No sum's order depends on
// timing, so the same call gives the same bits each time; against the host, exp and the order of
// sums differ.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// out[r] = table[tokens[r]] + positions[r % context]; rows x width.
struct muster_gpu_embed_call {
  size_t rows, context, width;
  int32_t bf16;
  const uint8_t* tokens;
  const void* table;
  const void* positions;
  void* out;
};
int muster_gpu_embed(const struct muster_gpu_embed_call* what, void* stream);

// out[r][v] = v == tokens[r]; rows x 256.  Its product with a gradient is that of the table.
int muster_gpu_one_hot(const uint8_t* tokens, size_t rows, int bf16, void* out, void* stream);

// rows x width; mean and rstd keep one value a row.
struct muster_gpu_layer_norm_call {
  size_t rows, width;
  int32_t bf16;
  const void* in;
  const void* weight;
  const void* bias;
  void* out;
  float* mean;
  float* rstd;
};
int muster_gpu_layer_norm(const struct muster_gpu_layer_norm_call* what, void* stream);

// Floats of scratch for whatever sums rows x width over the rows: partial sums of that many rows.
#define MUSTER_GPU_CHUNK_ROWS 64
#define MUSTER_GPU_ROW_SCRATCH(rows, width) \
  (((rows) + MUSTER_GPU_CHUNK_ROWS - 1) / MUSTER_GPU_CHUNK_ROWS * 2 * (width))

// d_in += the gradient by `in`; d_weight and d_bias are written.
struct muster_gpu_layer_norm_backward_call {
  size_t rows, width;
  int32_t bf16;
  const void* d_out;
  const void* in;
  const void* weight;
  const float* mean;
  const float* rstd;
  void* d_in;
  void* d_weight;
  void* d_bias;
  float* scratch;
};
int muster_gpu_layer_norm_backward(const struct muster_gpu_layer_norm_backward_call* what,
                                   void* stream);

// out[width] = the sum of the rows.
struct muster_gpu_sum_rows_call {
  size_t rows, width;
  int32_t bf16;
  const void* in;
  void* out;
  float* scratch;
};
int muster_gpu_sum_rows(const struct muster_gpu_sum_rows_call* what, void* stream);

// GPT-2's tanh form; backward: d, the gradient by the output, becomes that by `in`.
int muster_gpu_gelu(const void* in, size_t n, int bf16, void* out, void* stream);
int muster_gpu_gelu_backward(const void* in, size_t n, int bf16, void* d, void* stream);

// [batch][context][parts][head] to [parts][batch][context][head], or `back`.
struct muster_gpu_heads_call {
  size_t batch, context, parts, head;
  int32_t bf16, back;
  const void* from;
  void* to;
};
int muster_gpu_heads(const struct muster_gpu_heads_call* what, void* stream);

// `matrices` of size x size, in place: scores become softmax(scale * scores) over each row's past,
// 0 behind the diagonal; d, the gradient by the probabilities, becomes that by the scores.
int muster_gpu_causal_softmax(void* scores, size_t matrices, size_t size, float scale, int bf16,
                              void* stream);
int muster_gpu_causal_softmax_backward(const void* probabilities, void* d, size_t matrices,
                                       size_t size, float scale, int bf16, void* stream);

// losses[r] = the cross entropy of a row of logits, in nats, *mean that of all; logits become the
// gradient of scale * mean.
struct muster_gpu_cross_entropy_call {
  size_t rows, width;
  int32_t bf16;
  float scale;
  const uint8_t* targets;
  void* logits;
  float* losses;
  float* mean;
};
int muster_gpu_cross_entropy(const struct muster_gpu_cross_entropy_call* what, void* stream);

#ifdef __cplusplus
}
#endif
