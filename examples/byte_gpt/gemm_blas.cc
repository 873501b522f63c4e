#include <cblas.h>

#include "examples/byte_gpt/gemm.h"
#include "runtime/base/mutex.h"

namespace muster {
namespace {

// OpenBLAS 0.3.21 without threads picks its work buffer unlocked: two threads may get the same one.
Mutex one_caller;

}  // namespace

// NOLINTNEXTLINE(readability-function-size): the arguments of BLAS's sgemm.
void Gemm(GemmShape shape, float alpha, Matrix a, Matrix b, float beta, float* c,
          std::size_t c_stride) {
  const auto number = [](std::size_t n) { return static_cast<blasint>(n); };
  MutexLock lock(one_caller);
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, number(shape.m), number(shape.n),
              number(shape.k), alpha, a.data, number(a.stride), b.data, number(b.stride), beta, c,
              number(c_stride));
}

const char* GemmKernelFamily() {
  return openblas_get_corename();
}

}  // namespace muster
