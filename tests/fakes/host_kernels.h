// What the kernels of model_abi.h and muster_gpu_matmul compute, on the host and plainly: what the
// fake GPU runs, and what ./dev gpu compares the real kernels with.  Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/gpu/kernels_abi.h"
#include "runtime/gpu/model_abi.h"

namespace muster::host {

float FromBF16(std::uint16_t bits);
std::uint16_t ToBF16(float value);

// Values in f32 or bf16.
struct Values {
  void* memory = nullptr;
  bool bf16 = false;
  float Get(std::size_t i) const;
  void Put(std::size_t i, float value) const;
};

void MatMul(const muster_gpu_matmul_call& what);
void Embed(const muster_gpu_embed_call& what);
void OneHot(const std::uint8_t* tokens, std::size_t rows, Values out);
void LayerNorm(const muster_gpu_layer_norm_call& what);
void LayerNormBackward(const muster_gpu_layer_norm_backward_call& what);
void SumRows(const muster_gpu_sum_rows_call& what);
void Gelu(Values in, std::size_t n, Values out);
void GeluBackward(Values in, std::size_t n, Values d);
void Heads(const muster_gpu_heads_call& what);
void CausalSoftmax(Values scores, std::size_t matrices, std::size_t size, float scale);
void CausalSoftmaxBackward(Values probabilities, Values d, std::size_t matrices, std::size_t size,
                           float scale);
void CrossEntropy(const muster_gpu_cross_entropy_call& what);

}  // namespace muster::host
