#include <cblas.h>

#include "examples/byte_gpt/gemm.h"
#include "runtime/base/check.h"
#include "runtime/base/mutex.h"

// OpenBLAS 0.3.21 without threads picks its work buffer unlocked: two threads may get the same one.
// So its two functions for that are wrapped (CMakeLists.txt): each thread takes a buffer once, with
// a lock, and keeps it.  sgemm takes one at a time.
extern "C" {
void* RealBlasMemoryAlloc(int position) __asm__("__real_blas_memory_alloc");
void RealBlasMemoryFree(void* buffer) __asm__("__real_blas_memory_free");
void* WrapBlasMemoryAlloc(int position) __asm__("__wrap_blas_memory_alloc");
void WrapBlasMemoryFree(void* buffer) __asm__("__wrap_blas_memory_free");
}

namespace muster {
namespace {

Mutex one_caller;

class WorkBuffer {
 public:
  WorkBuffer() = default;
  ~WorkBuffer() {
    if (buffer_ == nullptr) return;
    MutexLock lock(one_caller);
    RealBlasMemoryFree(buffer_);
  }
  WorkBuffer(const WorkBuffer&) = delete;
  WorkBuffer& operator=(const WorkBuffer&) = delete;

  void* Get(int position) {
    CHECK(!in_use_);
    in_use_ = true;
    if (buffer_ != nullptr) return buffer_;
    MutexLock lock(one_caller);
    buffer_ = RealBlasMemoryAlloc(position);
    return buffer_;
  }
  void Free() { in_use_ = false; }

 private:
  void* buffer_ = nullptr;
  bool in_use_ = false;
};

WorkBuffer& MyWorkBuffer() {
  static thread_local WorkBuffer buffer;
  return buffer;
}

}  // namespace
}  // namespace muster

void* WrapBlasMemoryAlloc(int position) {
  return muster::MyWorkBuffer().Get(position);
}

void WrapBlasMemoryFree(void*) {
  muster::MyWorkBuffer().Free();
}

namespace muster {

// NOLINTNEXTLINE(readability-function-size): the arguments of BLAS's sgemm.
void Gemm(GemmShape shape, float alpha, Matrix a, Matrix b, float beta, float* c,
          std::size_t c_stride) {
  const auto number = [](std::size_t n) { return static_cast<blasint>(n); };
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, number(shape.m), number(shape.n),
              number(shape.k), alpha, a.data, number(a.stride), b.data, number(b.stride), beta, c,
              number(c_stride));
}

const char* GemmKernelFamily() {
  return openblas_get_corename();
}

}  // namespace muster
