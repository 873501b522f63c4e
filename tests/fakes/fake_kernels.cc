// libfake_muster_cuda.so: the C functions of libmuster_cuda.so that process groups call, over the
// fake CUDA, with the host's own kernels.  The others say cudaErrorNotSupported.
#include <vector>

#include "runtime/comm/canonical.h"
#include "runtime/comm/reduce.h"
#include "runtime/gpu/kernels_abi.h"
#include "tests/fakes/fake_cudart.h"

namespace muster::testing {
namespace {

constexpr int kInvalidValue = 1;
constexpr int kNotSupported = 801;

class Reducing final : public FakeWork {
 public:
  Reducing(Reduction how, const std::byte* in, std::size_t stride, std::byte* out, std::size_t n)
      : how_(how), in_(in), stride_(stride), out_(out), n_(n) {}
  bool TryRun() override {
    std::vector<const void*> rows;
    for (std::size_t r = 0; r < how_.ranks; ++r) {
      rows.push_back(in_ + r * stride_ * SizeOf(how_.dtype));
    }
    how_.Run(rows, out_, n_);
    return true;
  }

 private:
  const Reduction how_;
  const std::byte* const in_;
  const std::size_t stride_;
  std::byte* const out_;
  const std::size_t n_;
};

}  // namespace

// NOLINTBEGIN(readability-function-size): the parameters are those of kernels_abi.h.

#define FAKE_KERNEL extern "C" __attribute__((visibility("default")))

FAKE_KERNEL int muster_gpu_abi() {
  return MUSTER_GPU_ABI;
}

FAKE_KERNEL int muster_gpu_reduce(int dtype, int op, const void* in, size_t stride, size_t rows,
                                  void* out, size_t n, void* stream) {
  fake_cuda_lock();
  auto* from = static_cast<std::byte*>(fake_cuda_host(in));
  auto* to = static_cast<std::byte*>(fake_cuda_host(out));
  const bool reachable = from != nullptr && to != nullptr;
  if (reachable) {
    const Reduction how{
        .dtype = static_cast<DType>(dtype), .op = static_cast<ReduceOp>(op), .ranks = rows};
    fake_cuda_push(stream, new Reducing(how, from, stride, to, n));
  } else {
    fake_cuda_violation("a kernel over memory that the device does not reach");
  }
  fake_cuda_unlock();
  return reachable ? 0 : kInvalidValue;
}

FAKE_KERNEL int muster_gpu_add(float*, const float*, const float*, size_t, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_combine(const float* const*, size_t, const int32_t*, size_t, float*,
                                   size_t, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_adamw(const muster_gpu_adamw_update*, float*, float*, float*,
                                 const float*, uint16_t*, size_t, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_pack(const void* const*, const size_t*, size_t, int, float*, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_unpack(const float*, void* const*, const size_t*, size_t, int, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_sum_of_squares(const float*, size_t, size_t, double*, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_crc32c(const void*, size_t, size_t, uint32_t*, void*) {
  return kNotSupported;
}
FAKE_KERNEL int muster_gpu_matmul(const muster_gpu_matmul_call*, void*, void*) {
  return kNotSupported;
}

// NOLINTEND(readability-function-size): the parameters are those of kernels_abi.h.

}  // namespace muster::testing
