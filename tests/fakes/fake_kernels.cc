// libfake_muster_cuda.so: the C functions of kernels_abi.h over the fake CUDA, with the host's own
// kernels; those of a model are in fake_model_kernels.cc.
#include <vector>

#include "runtime/comm/canonical.h"
#include "runtime/comm/reduce.h"
#include "runtime/gpu/kernels_abi.h"
#include "runtime/train/optimizer.h"
#include "tests/fakes/fake_launch.h"

namespace muster::testing {
namespace {

// The tensors of a bucket, with the host's addresses.
struct Part {
  void* memory = nullptr;
  std::size_t begin = 0;
  std::size_t count = 0;
};

template <typename T>
std::vector<Part> PartsOf(FakeLaunch& launch, T* const* memory, const std::size_t* counts,
                          std::size_t tensors) {
  std::vector<Part> parts;
  std::size_t at = 0;
  if (tensors == 0 || tensors > MUSTER_GPU_TENSORS) launch.Refuse("a bucket of so many tensors");
  for (std::size_t i = 0; i < tensors; ++i) {
    parts.push_back(
        {const_cast<void*>(static_cast<const void*>(launch.At(memory[i]))), at, counts[i]});
    at += counts[i];
  }
  return parts;
}

void RunProgram(const std::vector<const float*>& sources, const std::vector<std::int32_t>& program,
                float* out, std::size_t n) {
  std::vector<float> stack;
  for (std::size_t i = 0; i < n; ++i) {
    stack.clear();
    for (const std::int32_t step : program) {
      if (step >= 0) {
        stack.push_back(sources[static_cast<std::size_t>(step)][i]);
        continue;
      }
      const float right = stack.back();
      stack.pop_back();
      stack.back() = stack.back() + right;
    }
    out[i] = stack[0];
  }
}

}  // namespace

// NOLINTBEGIN(readability-function-size): the parameters are those of kernels_abi.h.

FAKE_KERNEL int muster_gpu_abi() {
  return MUSTER_GPU_ABI;
}

FAKE_KERNEL int muster_gpu_reduce(int dtype, int op, const void* in, size_t stride, size_t rows,
                                  void* out, size_t n, void* stream) {
  FakeLaunch launch(stream);
  const auto* from = static_cast<const std::byte*>(launch.At(in));
  void* to = launch.At(out);
  const Reduction how{
      .dtype = static_cast<DType>(dtype), .op = static_cast<ReduceOp>(op), .ranks = rows};
  return launch.Run([=] {
    std::vector<const void*> inputs;
    for (std::size_t r = 0; r < rows; ++r) inputs.push_back(from + r * stride * SizeOf(how.dtype));
    how.Run(inputs, to, n);
  });
}

FAKE_KERNEL int muster_gpu_add(float* out, const float* left, const float* right, size_t n,
                               void* stream) {
  FakeLaunch launch(stream);
  return launch.Run([=, to = launch.At(out), a = launch.At(left), b = launch.At(right)] {
    AddKernel(to, a, b, n);
  });
}

FAKE_KERNEL int muster_gpu_combine(const float* const* sources, size_t source_count,
                                   const int32_t* program, size_t program_length, float* out,
                                   size_t n, void* stream) {
  FakeLaunch launch(stream);
  if (source_count > MUSTER_GPU_SOURCES || program_length > MUSTER_GPU_PROGRAM) {
    launch.Refuse("a program that is too long");
  }
  std::vector<const float*> from;
  for (size_t i = 0; i < source_count; ++i) from.push_back(launch.At(sources[i]));
  const std::vector<std::int32_t> steps(program, program + program_length);
  return launch.Run([=, to = launch.At(out)] { RunProgram(from, steps, to, n); });
}

FAKE_KERNEL int muster_gpu_adamw(const muster_gpu_adamw_update* update, float* parameters,
                                 float* exp_avg, float* exp_avg_sq, const float* gradient,
                                 uint16_t* parameters_bf16, size_t n, void* stream) {
  FakeLaunch launch(stream);
  const AdamWUpdate u{.gradient_scale = update->gradient_scale,
                      .beta1 = update->beta1,
                      .one_minus_beta1 = update->one_minus_beta1,
                      .beta2 = update->beta2,
                      .one_minus_beta2 = update->one_minus_beta2,
                      .step_size = update->step_size,
                      .sqrt_correction2 = update->sqrt_correction2,
                      .epsilon = update->epsilon,
                      .decay_factor = update->decay_factor};
  const AdamWSlice slice{.parameters = launch.At(parameters),
                         .exp_avg = launch.At(exp_avg),
                         .exp_avg_sq = launch.At(exp_avg_sq),
                         .gradient = launch.At(gradient),
                         .elements = n,
                         .decay = update->decay != 0};
  auto* rounded = launch.IfThere(parameters_bf16);
  return launch.Run([=] {
    ApplyAdamW(u, slice);
    if (rounded != nullptr) kernels::NarrowBF16(rounded, slice.parameters, n);
  });
}

FAKE_KERNEL int muster_gpu_pack(const void* const* from, const size_t* counts, size_t tensors,
                                int bf16, float* bucket, void* stream) {
  FakeLaunch launch(stream);
  const auto parts = PartsOf(launch, from, counts, tensors);
  return launch.Run([=, to = launch.At(bucket)] {
    for (const Part& part : parts) {
      if (bf16 != 0) {
        kernels::WidenBF16(to + part.begin, static_cast<const std::uint16_t*>(part.memory),
                           part.count);
      } else {
        std::copy_n(static_cast<const float*>(part.memory), part.count, to + part.begin);
      }
    }
  });
}

FAKE_KERNEL int muster_gpu_unpack(const float* bucket, void* const* to, const size_t* counts,
                                  size_t tensors, int bf16, void* stream) {
  FakeLaunch launch(stream);
  const auto parts = PartsOf(launch, to, counts, tensors);
  return launch.Run([=, from = launch.At(bucket)] {
    for (const Part& part : parts) {
      if (bf16 != 0) {
        kernels::NarrowBF16(static_cast<std::uint16_t*>(part.memory), from + part.begin,
                            part.count);
      } else {
        std::copy_n(from + part.begin, part.count, static_cast<float*>(part.memory));
      }
    }
  });
}

FAKE_KERNEL int muster_gpu_sum_of_squares(const float* values, size_t n, size_t piece, double* out,
                                          void* stream) {
  FakeLaunch launch(stream);
  return launch.Run([=, from = launch.At(values), to = launch.At(out)] {
    for (std::size_t at = 0; at < n; at += piece) {
      to[at / piece] = SumOfSquares(from + at, std::min(piece, n - at));
    }
  });
}

FAKE_KERNEL int muster_gpu_crc32c(const void* bytes, size_t n, size_t piece, uint32_t* crcs,
                                  void* stream) {
  FakeLaunch launch(stream);
  const auto* from = static_cast<const std::uint8_t*>(launch.At(bytes));
  return launch.Run([=, to = launch.At(crcs)] {
    for (std::size_t at = 0; at < n; at += piece) {
      std::uint32_t crc = 0xFFFFFFFFU;
      for (std::size_t i = at; i < std::min(at + piece, n); ++i) {
        crc ^= from[i];
        for (int b = 0; b < 8; ++b) crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0x82F63B78U : crc >> 1U;
      }
      to[at / piece] = ~crc;
    }
  });
}

// NOLINTEND(readability-function-size): the parameters are those of kernels_abi.h.

}  // namespace muster::testing
