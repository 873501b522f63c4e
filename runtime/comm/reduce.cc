#include "runtime/comm/reduce.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kChunk = 1024;  // Elements: what is between inputs stays in the first cache.

template <typename T>
using Kernel = kernels::Kernel<T>*;

template <typename T>
void Combine(const Kernel<T> (&by_op)[5], ReduceOp op, void* out, const void* left,
             const void* right, std::size_t n) {
  by_op[static_cast<std::size_t>(op)](static_cast<T*>(out), static_cast<const T*>(left),
                                      static_cast<const T*>(right), n);
}

// out = left op right, where avg is a sum.
void Combine(DType dtype, ReduceOp op, void* out, const void* left, const void* right,
             std::size_t n) {
  static constexpr Kernel<float> kF32[] = {kernels::SumF32, kernels::SumF32, kernels::MinF32,
                                           kernels::MaxF32, kernels::ProdF32};
  static constexpr Kernel<double> kF64[] = {kernels::SumF64, kernels::SumF64, kernels::MinF64,
                                            kernels::MaxF64, kernels::ProdF64};
  static constexpr Kernel<std::int32_t> kI32[] = {kernels::SumI32, kernels::SumI32, kernels::MinI32,
                                                  kernels::MaxI32, kernels::ProdI32};
  static constexpr Kernel<std::int64_t> kI64[] = {kernels::SumI64, kernels::SumI64, kernels::MinI64,
                                                  kernels::MaxI64, kernels::ProdI64};
  static constexpr Kernel<std::uint8_t> kU8[] = {kernels::SumU8, kernels::SumU8, kernels::MinU8,
                                                 kernels::MaxU8, kernels::ProdU8};
  switch (dtype) {
    case DType::kF32:
      return Combine(kF32, op, out, left, right, n);
    case DType::kF64:
      return Combine(kF64, op, out, left, right, n);
    case DType::kI32:
      return Combine(kI32, op, out, left, right, n);
    case DType::kI64:
      return Combine(kI64, op, out, left, right, n);
    case DType::kU8:
      return Combine(kU8, op, out, left, right, n);
    default:
      CHECK(dtype == DType::kF32);  // 16-bit floats are widened first.
  }
}

bool IsHalf(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16;
}

void Widen(DType dtype, float* out, const void* in, std::size_t n) {
  const auto* from = static_cast<const std::uint16_t*>(in);
  dtype == DType::kF16 ? kernels::WidenF16(out, from, n) : kernels::WidenBF16(out, from, n);
}

void Narrow(DType dtype, void* out, const float* in, std::size_t n) {
  auto* to = static_cast<std::uint16_t*>(out);
  dtype == DType::kF16 ? kernels::NarrowF16(to, in, n) : kernels::NarrowBF16(to, in, n);
}

void Divide(DType dtype, void* values, std::size_t by, std::size_t n) {
  if (dtype == DType::kF64) {
    kernels::DivideF64(static_cast<double*>(values), static_cast<double>(by), n);
  } else {
    kernels::DivideF32(static_cast<float*>(values), static_cast<float>(by), n);
  }
}

const void* At(const void* values, DType dtype, std::size_t element) {
  return static_cast<const std::byte*>(values) + element * SizeOf(dtype);
}

void* At(void* values, DType dtype, std::size_t element) {
  return static_cast<std::byte*>(values) + element * SizeOf(dtype);
}

}  // namespace

DType Reduction::accumulator() const {
  return IsHalf(dtype) ? DType::kF32 : dtype;
}

void Reduction::Run(std::span<const void* const> inputs, void* out, std::size_t n) const {
  alignas(64) float wide[kChunk];
  for (std::size_t at = 0; at < n; at += kChunk) {
    const std::size_t size = std::min(kChunk, n - at);
    void* to = At(out, dtype, at);
    void* accumulated = IsHalf(dtype) ? wide : to;
    Chunk(inputs, at, accumulated, size);
    if (op == ReduceOp::kAvg) Divide(accumulator(), accumulated, ranks, size);
    if (IsHalf(dtype)) Narrow(dtype, to, wide, size);
  }
}

void Reduction::Begin(std::span<const void* const> inputs, void* accumulated, std::size_t n) const {
  for (std::size_t at = 0; at < n; at += kChunk) {
    Chunk(inputs, at, At(accumulated, accumulator(), at), std::min(kChunk, n - at));
  }
}

void Reduction::Finish(std::span<const void* const> accumulated, void* out, std::size_t n) const {
  const Reduction wide{.dtype = accumulator(), .op = op, .ranks = ranks};
  if (!IsHalf(dtype)) return wide.Run(accumulated, out, n);
  alignas(64) float sum[kChunk];
  for (std::size_t at = 0; at < n; at += kChunk) {
    const std::size_t size = std::min(kChunk, n - at);
    wide.Chunk(accumulated, at, sum, size);
    if (op == ReduceOp::kAvg) Divide(DType::kF32, sum, ranks, size);
    Narrow(dtype, At(out, dtype, at), sum, size);
  }
}

// `out` is written only when all inputs but the last were read, so it may be any of them.
void Reduction::Chunk(std::span<const void* const> inputs, std::size_t at, void* out,
                      std::size_t n) const {
  if (IsHalf(dtype)) return HalfChunk(inputs, at, static_cast<float*>(out), n);
  alignas(64) std::byte between[kChunk * sizeof(double)];
  const void* left = At(inputs[0], dtype, at);
  if (inputs.size() == 1 && left != out) std::memcpy(out, left, n * SizeOf(dtype));
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    void* to = i + 1 == inputs.size() ? out : between;
    Combine(dtype, op, to, left, At(inputs[i], dtype, at), n);
    left = to;
  }
}

void Reduction::HalfChunk(std::span<const void* const> inputs, std::size_t at, float* out,
                          std::size_t n) const {
  alignas(64) float next[kChunk];
  Widen(dtype, out, At(inputs[0], dtype, at), n);
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    Widen(dtype, next, At(inputs[i], dtype, at), n);
    Combine(DType::kF32, op, out, out, next, n);
  }
}

}  // namespace muster
