// The kernels behind model_abi.h that go element by element.  Compiled with -fmad=false.
#include "runtime/gpu/floats_cuda.h"
#include "runtime/gpu/model_abi.h"

namespace muster::gpu_kernels {
namespace {

template <typename T>
__global__ void Embed(muster_gpu_embed_call c) {
  const auto* table = static_cast<const T*>(c.table);
  const auto* positions = static_cast<const T*>(c.positions);
  auto* out = static_cast<T*>(c.out);
  for (std::size_t i = First(); i < c.rows * c.width; i += Stride()) {
    const std::size_t row = i / c.width;
    const std::size_t column = i % c.width;
    const float token = Read(table[c.tokens[row] * c.width + column]);
    Write(token + Read(positions[row % c.context * c.width + column]), out[i]);
  }
}

constexpr std::size_t kBytes = 256;

template <typename T>
__global__ void OneHot(const std::uint8_t* tokens, std::size_t n, T* out) {
  for (std::size_t i = First(); i < n; i += Stride()) {
    Write(tokens[i / kBytes] == i % kBytes ? 1.0F : 0.0F, out[i]);
  }
}

constexpr float kGeluScale = 0.7978845608F;  // sqrt(2 / pi)
constexpr float kGeluCube = 0.044715F;

// (1 + tanh u) / 2
__device__ float Gate(float x) {
  const float u = kGeluScale * (x + kGeluCube * x * x * x);
  return 1.0F / (1.0F + expf(-2.0F * u));
}

template <typename T>
__global__ void Gelu(const T* in, std::size_t n, T* out) {
  for (std::size_t i = First(); i < n; i += Stride()) {
    const float x = Read(in[i]);
    Write(x * Gate(x), out[i]);
  }
}

template <typename T>
__global__ void GeluBackward(const T* in, std::size_t n, T* d) {
  for (std::size_t i = First(); i < n; i += Stride()) {
    const float x = Read(in[i]);
    const float s = Gate(x);
    const float slope = 2.0F * kGeluScale * (1.0F + 3.0F * kGeluCube * x * x);
    Write(Read(d[i]) * (s + x * (s * (1.0F - s)) * slope), d[i]);
  }
}

// `i` counts the elements of the side that lies by parts.
template <typename T>
__global__ void Heads(muster_gpu_heads_call c) {
  const auto* from = static_cast<const T*>(c.from);
  auto* to = static_cast<T*>(c.to);
  const std::size_t n = c.batch * c.context * c.parts * c.head;
  for (std::size_t i = First(); i < n; i += Stride()) {
    const std::size_t column = i % c.head;
    const std::size_t time = i / c.head % c.context;
    const std::size_t sequence = i / (c.head * c.context) % c.batch;
    const std::size_t part = i / (c.head * c.context * c.batch);
    const std::size_t other = ((sequence * c.context + time) * c.parts + part) * c.head + column;
    if (c.back != 0) {
      to[other] = from[i];
    } else {
      to[i] = from[other];
    }
  }
}

}  // namespace

MUSTER_EXPORT int muster_gpu_embed(const muster_gpu_embed_call* what, void* stream) {
  const unsigned blocks = BlocksFor(what->rows * what->width);
  if (what->bf16 != 0) {
    Embed<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  } else {
    Embed<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_one_hot(const uint8_t* tokens, size_t rows, int bf16, void* out,
                                     void* stream) {
  const std::size_t n = rows * kBytes;
  if (bf16 != 0) {
    OneHot<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(tokens, n, static_cast<Brain*>(out));
  } else {
    OneHot<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(tokens, n, static_cast<float*>(out));
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_gelu(const void* in, size_t n, int bf16, void* out, void* stream) {
  if (bf16 != 0) {
    Gelu<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(static_cast<const Brain*>(in), n,
                                                          static_cast<Brain*>(out));
  } else {
    Gelu<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(static_cast<const float*>(in), n,
                                                          static_cast<float*>(out));
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_gelu_backward(const void* in, size_t n, int bf16, void* d,
                                           void* stream) {
  if (bf16 != 0) {
    GeluBackward<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(static_cast<const Brain*>(in), n,
                                                                  static_cast<Brain*>(d));
  } else {
    GeluBackward<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(static_cast<const float*>(in), n,
                                                                  static_cast<float*>(d));
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_heads(const muster_gpu_heads_call* what, void* stream) {
  const unsigned blocks = BlocksFor(what->batch * what->context * what->parts * what->head);
  if (what->bf16 != 0) {
    Heads<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  } else {
    Heads<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  }
  return Launched();
}

}  // namespace muster::gpu_kernels
