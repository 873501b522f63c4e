// The host's matrix products without a BLAS: slow, and the same on any machine.
#include "examples/byte_gpt/gemm.h"

namespace muster {

// NOLINTNEXTLINE(readability-function-size): the parameters are those of gemm.h.
void Gemm(GemmShape shape, float alpha, Matrix a, Matrix b, float beta, float* c,
          std::size_t c_stride) {
  for (std::size_t i = 0; i < shape.m; ++i) {
    float* const row = c + i * c_stride;
    for (std::size_t j = 0; j < shape.n; ++j) row[j] = beta == 0 ? 0 : beta * row[j];
    for (std::size_t k = 0; k < shape.k; ++k) {
      const float left =
          alpha * (a.transposed ? a.data[k * a.stride + i] : a.data[i * a.stride + k]);
      for (std::size_t j = 0; j < shape.n; ++j) {
        row[j] += left * (b.transposed ? b.data[j * b.stride + k] : b.data[k * b.stride + j]);
      }
    }
  }
}

const char* GemmKernelFamily() {
  return "plain";
}

}  // namespace muster
