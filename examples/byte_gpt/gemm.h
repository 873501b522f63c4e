// Matrix products, row major, in f32.  The same arguments give the same bits on every rank whose
// BLAS uses the same kernel family (core_type_posix.cc).  Any thread.
#pragma once

#include <cstddef>

namespace muster {

struct Matrix {
  const float* data = nullptr;
  std::size_t stride = 0;  // Floats from one row to the next.
  bool transposed = false;
};

// C (m x n) = alpha * A (m x k) * B (k x n) + beta * C.
struct GemmShape {
  std::size_t m = 0, n = 0, k = 0;
};
void Gemm(GemmShape shape, float alpha, Matrix a, Matrix b, float beta, float* c,
          std::size_t c_stride);

// The kernel family that the BLAS chose for this machine, such as "SkylakeX".
const char* GemmKernelFamily();

}  // namespace muster
