// What a reduction of user buffers computes: inputs combined from left to right, elementwise, so
// that the result has the same bits whoever computes which part of it, and when.
//
// f16 and bf16 are widened to f32, combined there, and rounded once (to nearest, ties to even); the
// other types are combined as they are, integers modulo 2^bits.  avg is the sum, divided once.
//
// Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/comm/collective.h"

namespace muster {

struct Reduction {
  DType dtype = DType::kF32;
  ReduceOp op = ReduceOp::kSum;
  std::size_t ranks = 1;  // What avg divides by.

  // What a reduction that is not finished yet is carried in.
  DType accumulator() const;

  // out[i] = inputs[0][i] op inputs[1][i] op ..., n elements.  `out` may be one of the inputs.
  void Run(std::span<const void* const> inputs, void* out, std::size_t n) const;

  // The same in two parts: inputs of some neighbouring ranks to an accumulator...
  void Begin(std::span<const void* const> inputs, void* accumulated, std::size_t n) const;
  // ...and accumulators of all ranks, from left to right, to the result.
  void Finish(std::span<const void* const> accumulated, void* out, std::size_t n) const;

 private:
  void Chunk(std::span<const void* const> inputs, std::size_t at, void* out, std::size_t n) const;
  void HalfChunk(std::span<const void* const> inputs, std::size_t at, float* out,
                 std::size_t n) const;
};

// The loops below, compiled for each vector width; the results do not depend on it.
namespace kernels {

template <typename T>
using Kernel = void(T* out, const T* left, const T* right, std::size_t n);

Kernel<float> SumF32, MinF32, MaxF32, ProdF32;
Kernel<double> SumF64, MinF64, MaxF64, ProdF64;
Kernel<std::int32_t> SumI32, MinI32, MaxI32, ProdI32;
Kernel<std::int64_t> SumI64, MinI64, MaxI64, ProdI64;
Kernel<std::uint8_t> SumU8, MinU8, MaxU8, ProdU8;

// memcpy for memory that other cores have just written or will read next.  No overlap.
void CopyShared(std::byte* to, const std::byte* from, std::size_t n);

void DivideF32(float* values, float by, std::size_t n);
void DivideF64(double* values, double by, std::size_t n);
void WidenF16(float* out, const std::uint16_t* in, std::size_t n);
void WidenBF16(float* out, const std::uint16_t* in, std::size_t n);
void NarrowF16(std::uint16_t* out, const float* in, std::size_t n);
void NarrowBF16(std::uint16_t* out, const float* in, std::size_t n);

}  // namespace kernels

}  // namespace muster
