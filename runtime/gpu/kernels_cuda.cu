// The kernels behind kernels_abi.h that go element by element.  Compiled with -fmad=false: a
// multiplication and an addition stay two operations, as on the host.
#include "runtime/gpu/floats_cuda.h"
#include "runtime/gpu/kernels_abi.h"

namespace muster::gpu_kernels {
namespace {

// ---- 16-bit floats, bit by bit as reduce_kernels.cc has them ------------------------------------

struct Half {
  std::uint16_t bits;
};

__device__ float Widen(Half in) {
  const std::uint32_t magnitude = (in.bits & 0x7FFFU) << 13U;
  const std::uint32_t exponent = magnitude & (0x7C00U << 13U);
  const std::uint32_t normal = magnitude + ((127U - 15U) << 23U);
  std::uint32_t wide = normal;
  if (exponent == 0x7C00U << 13U) wide = normal + ((128U - 16U) << 23U);
  if (exponent == 0) {
    wide = __float_as_uint(__uint_as_float(normal + (1U << 23U)) - __uint_as_float(113U << 23U));
  }
  return __uint_as_float(wide | (in.bits & 0x8000U) << 16U);
}

__device__ void Narrow(float in, Half& out) {
  constexpr std::uint32_t kMagic = ((127U - 15U) + (23U - 10U) + 1U) << 23U;
  const std::uint32_t bits = __float_as_uint(in);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t half = 0;
  if (magnitude >= (127U + 16U) << 23U) {
    half = magnitude > 255U << 23U ? 0x7E00U : 0x7C00U;
  } else if (magnitude < 113U << 23U) {
    half = __float_as_uint(__uint_as_float(magnitude) + __uint_as_float(kMagic)) - kMagic;
  } else {
    half = (magnitude - ((127U - 15U) << 23U) + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
  }
  out.bits = static_cast<std::uint16_t>(half | (bits & 0x80000000U) >> 16U);
}

// ---- Reductions ---------------------------------------------------------------------------------

enum Op { kSum, kAvg, kMin, kMax, kProd };

// What a type is combined in; integers wrap.
template <typename T>
struct Wide {
  using Type = T;
};
template <>
struct Wide<Half> {
  using Type = float;
};
template <>
struct Wide<Brain> {
  using Type = float;
};

template <typename T>
__device__ typename Wide<T>::Type Load(const T& in) {
  if constexpr (sizeof(T) == 2) {
    return Widen(in);
  } else {
    return in;
  }
}

template <typename T>
__device__ void Store(typename Wide<T>::Type in, T& out) {
  if constexpr (sizeof(T) == 2) {
    Narrow(in, out);
  } else {
    out = in;
  }
}

template <int kOp, typename T>
__device__ T Combined(T a, T b) {
  if constexpr (kOp == kMin) return b < a || b != b ? b : a;
  if constexpr (kOp == kMax) return b > a || b != b ? b : a;
  if constexpr (static_cast<T>(0.5) == 0) {
    const auto x = static_cast<unsigned long long>(a);
    const auto y = static_cast<unsigned long long>(b);
    return static_cast<T>(kOp == kProd ? x * y : x + y);
  } else {
    return kOp == kProd ? a * b : a + b;
  }
}

template <int kOp, typename T>
__global__ void ReduceRows(const T* in, std::size_t stride, std::size_t rows, T* out,
                           std::size_t n) {
  for (std::size_t i = First(); i < n; i += Stride()) {
    auto sum = Load(in[i]);
    for (std::size_t row = 1; row < rows; ++row) {
      sum = Combined<kOp>(sum, Load(in[row * stride + i]));
    }
    if constexpr (kOp == kAvg) sum /= static_cast<decltype(sum)>(rows);
    Store(sum, out[i]);
  }
}

template <typename T>
int Reduce(int op, const void* in, std::size_t stride, std::size_t rows, void* out, std::size_t n,
           cudaStream_t stream) {
  const auto* from = static_cast<const T*>(in);
  auto* to = static_cast<T*>(out);
  const unsigned blocks = BlocksFor(n);
  switch (op) {
    case kSum:
      ReduceRows<kSum><<<blocks, kThreads, 0, stream>>>(from, stride, rows, to, n);
      break;
    case kAvg:
      ReduceRows<kAvg><<<blocks, kThreads, 0, stream>>>(from, stride, rows, to, n);
      break;
    case kMin:
      ReduceRows<kMin><<<blocks, kThreads, 0, stream>>>(from, stride, rows, to, n);
      break;
    case kMax:
      ReduceRows<kMax><<<blocks, kThreads, 0, stream>>>(from, stride, rows, to, n);
      break;
    case kProd:
      ReduceRows<kProd><<<blocks, kThreads, 0, stream>>>(from, stride, rows, to, n);
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return Launched();
}

__global__ void Add(float* out, const float* left, const float* right, std::size_t n) {
  for (std::size_t i = First(); i < n; i += Stride()) out[i] = left[i] + right[i];
}

struct Program {
  const float* sources[MUSTER_GPU_SOURCES];
  std::int16_t steps[MUSTER_GPU_PROGRAM];  // All of it fits into a kernel's 4 KiB of arguments.
  std::int32_t length;
};
static_assert(sizeof(Program) < 4000);

__global__ void Combine(Program program, float* out, std::size_t n) {
  constexpr int kDepth = 24;  // A tree over 2^20 micro-batches has 20 levels.
  for (std::size_t i = First(); i < n; i += Stride()) {
    float stack[kDepth];
    int height = 0;
    for (int step = 0; step < program.length; ++step) {
      if (program.steps[step] >= 0) {
        stack[height++] = program.sources[program.steps[step]][i];
      } else {
        --height;
        stack[height - 1] = stack[height - 1] + stack[height];
      }
    }
    out[i] = stack[0];
  }
}

// ---- The optimizer ------------------------------------------------------------------------------

__global__ void AdamW(muster_gpu_adamw_update u, float* parameters, float* exp_avg,
                      float* exp_avg_sq, const float* gradient, Brain* rounded, std::size_t n) {
  const float keep = u.decay != 0 ? u.decay_factor : 1.0F;
  for (std::size_t i = First(); i < n; i += Stride()) {
    const float g = gradient[i] * u.gradient_scale;
    const float m = u.beta1 * exp_avg[i] + u.one_minus_beta1 * g;
    const float v = u.beta2 * exp_avg_sq[i] + u.one_minus_beta2 * (g * g);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    const float denominator = sqrtf(v) * u.sqrt_correction2 + u.epsilon;
    const float parameter = parameters[i] * keep - u.step_size * (m / denominator);
    parameters[i] = parameter;
    if (rounded != nullptr) Narrow(parameter, rounded[i]);
  }
}

struct Tensors {
  const void* memory[MUSTER_GPU_TENSORS];
  std::size_t counts[MUSTER_GPU_TENSORS];
  std::size_t begins[MUSTER_GPU_TENSORS];
};

template <typename T>
__global__ void Pack(Tensors tensors, float* bucket) {
  const auto* from = static_cast<const T*>(tensors.memory[blockIdx.y]);
  float* to = bucket + tensors.begins[blockIdx.y];
  const std::size_t n = tensors.counts[blockIdx.y];
  for (std::size_t i = First(); i < n; i += Stride()) to[i] = Load(from[i]);
}

template <typename T>
__global__ void Unpack(Tensors tensors, const float* bucket) {
  auto* to = static_cast<T*>(const_cast<void*>(tensors.memory[blockIdx.y]));
  const float* from = bucket + tensors.begins[blockIdx.y];
  const std::size_t n = tensors.counts[blockIdx.y];
  for (std::size_t i = First(); i < n; i += Stride()) Store(from[i], to[i]);
}

bool Describe(const void* const* memory, const std::size_t* counts, std::size_t n, Tensors* out,
              std::size_t* most) {
  if (n == 0 || n > MUSTER_GPU_TENSORS) return false;
  std::size_t at = 0;
  *most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out->memory[i] = memory[i];
    out->counts[i] = counts[i];
    out->begins[i] = at;
    at += counts[i];
    if (counts[i] > *most) *most = counts[i];
  }
  return true;
}

}  // namespace

MUSTER_EXPORT int muster_gpu_abi(void) {
  return MUSTER_GPU_ABI;
}

MUSTER_EXPORT int muster_gpu_reduce(int dtype, int op, const void* in, size_t stride, size_t rows,
                                    void* out, size_t n, void* stream) {
  const cudaStream_t to = StreamOf(stream);
  switch (dtype) {  // DType.
    case 0:
      return Reduce<float>(op, in, stride, rows, out, n, to);
    case 1:
      return Reduce<double>(op, in, stride, rows, out, n, to);
    case 2:
      return Reduce<Half>(op, in, stride, rows, out, n, to);
    case 3:
      return Reduce<Brain>(op, in, stride, rows, out, n, to);
    case 4:
      return Reduce<std::int32_t>(op, in, stride, rows, out, n, to);
    case 5:
      return Reduce<std::int64_t>(op, in, stride, rows, out, n, to);
    case 6:
      return Reduce<std::uint8_t>(op, in, stride, rows, out, n, to);
    default:
      return cudaErrorInvalidValue;
  }
}

MUSTER_EXPORT int muster_gpu_add(float* out, const float* left, const float* right, size_t n,
                                 void* stream) {
  Add<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(out, left, right, n);
  return Launched();
}

MUSTER_EXPORT int muster_gpu_combine(const float* const* sources, size_t source_count,
                                     const int32_t* program, size_t program_length, float* out,
                                     size_t n, void* stream) {
  if (source_count > MUSTER_GPU_SOURCES || program_length > MUSTER_GPU_PROGRAM) {
    return cudaErrorInvalidValue;
  }
  Program what = {};
  for (size_t i = 0; i < source_count; ++i) what.sources[i] = sources[i];
  for (size_t i = 0; i < program_length; ++i) what.steps[i] = static_cast<std::int16_t>(program[i]);
  what.length = static_cast<std::int32_t>(program_length);
  Combine<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(what, out, n);
  return Launched();
}

MUSTER_EXPORT int muster_gpu_adamw(const muster_gpu_adamw_update* update, float* parameters,
                                   float* exp_avg, float* exp_avg_sq, const float* gradient,
                                   uint16_t* parameters_bf16, size_t n, void* stream) {
  AdamW<<<BlocksFor(n), kThreads, 0, StreamOf(stream)>>>(
      *update, parameters, exp_avg, exp_avg_sq, gradient, reinterpret_cast<Brain*>(parameters_bf16),
      n);
  return Launched();
}

MUSTER_EXPORT int muster_gpu_pack(const void* const* from, const size_t* counts, size_t tensors,
                                  int bf16, float* bucket, void* stream) {
  Tensors what = {};
  std::size_t most = 0;
  if (!Describe(from, counts, tensors, &what, &most)) return cudaErrorInvalidValue;
  const dim3 blocks(BlocksFor(most), static_cast<unsigned>(tensors));
  if (bf16 != 0) {
    Pack<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(what, bucket);
  } else {
    Pack<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(what, bucket);
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_unpack(const float* bucket, void* const* to, const size_t* counts,
                                    size_t tensors, int bf16, void* stream) {
  Tensors what = {};
  std::size_t most = 0;
  if (!Describe(to, counts, tensors, &what, &most)) return cudaErrorInvalidValue;
  const dim3 blocks(BlocksFor(most), static_cast<unsigned>(tensors));
  if (bf16 != 0) {
    Unpack<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(what, bucket);
  } else {
    Unpack<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(what, bucket);
  }
  return Launched();
}

}  // namespace muster::gpu_kernels
