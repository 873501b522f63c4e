// What the kernels share: how 16-bit floats are read and written, and where a thread begins.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#define MUSTER_EXPORT extern "C" __attribute__((visibility("default")))

namespace muster::gpu_kernels {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

inline unsigned BlocksFor(std::size_t n) {
  const std::size_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 65'535 ? 65'535 : blocks);
}

inline int Launched() {
  return cudaGetLastError();
}

inline cudaStream_t StreamOf(void* stream) {
  return static_cast<cudaStream_t>(stream);
}

__device__ inline std::size_t First() {
  return blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x;
}

__device__ inline std::size_t Stride() {
  return gridDim.x * static_cast<std::size_t>(blockDim.x);
}

struct Brain {
  std::uint16_t bits;
};

__device__ inline float Widen(Brain in) {
  return __uint_as_float(static_cast<std::uint32_t>(in.bits) << 16U);
}

// To nearest, ties to even; a NaN stays one.
__device__ inline void Narrow(float in, Brain& out) {
  const std::uint32_t bits = __float_as_uint(in);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
  const std::uint32_t quiet = (bits >> 16U) | 0x40U;
  out.bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet : rounded);
}

__device__ inline float Read(float in) {
  return in;
}
__device__ inline float Read(Brain in) {
  return Widen(in);
}
__device__ inline void Write(float in, float& out) {
  out = in;
}
__device__ inline void Write(float in, Brain& out) {
  Narrow(in, out);
}

// Of a warp, the same on every lane: the order is that of a butterfly.
__device__ inline float WarpSum(float value) {
  for (int width = kWarp / 2; width > 0; width /= 2) {
    value += __shfl_xor_sync(0xFFFFFFFFU, value, width);
  }
  return value;
}

__device__ inline float WarpMax(float value) {
  for (int width = kWarp / 2; width > 0; width /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFU, value, width));
  }
  return value;
}

}  // namespace muster::gpu_kernels
