// The C interface of libmuster_cuda.so, the one part of muster that nvcc compiles: what runs on a
// GPU beside NCCL.  It is looked for at run time (kernels_cuda.h).
//
// Every function but muster_gpu_abi puts its work on `stream` (a cudaStream_t), waits for nothing,
// and returns a cudaError_t, 0 for success.  Pointers are to memory that the device of the calling
// thread reaches; counts are elements.  Floats are combined without contraction, so the bits are
// those that the named host function gives.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MUSTER_GPU_ABI 2
int muster_gpu_abi(void);  // MUSTER_GPU_ABI of the library that was found.

// out[i] = in[i] op in[stride + i] op ..., `rows` rows, from the first to the last: the reduction
// of runtime/comm/reduce.h.  `dtype` and `op`: DType and ReduceOp of runtime/comm/collective.h.
// `out` may not overlap `in`, but be its first row.
int muster_gpu_reduce(int dtype, int op, const void* in, size_t stride, size_t rows, void* out,
                      size_t n, void* stream);

// out[i] = left[i] + right[i] in f32, the one sum of runtime/comm/canonical.h (AddKernel).  `out`
// may be `left` or `right`.
int muster_gpu_add(float* out, const float* left, const float* right, size_t n, void* stream);

// One program of CombinePlan, as postfix: a number pushes sources[number], -1 adds the two on top.
// `sources`, `program`: host arrays, read before the call returns; at most MUSTER_GPU_SOURCES and
// MUSTER_GPU_PROGRAM long.
#define MUSTER_GPU_SOURCES 256
#define MUSTER_GPU_PROGRAM 512
int muster_gpu_combine(const float* const* sources, size_t source_count, const int32_t* program,
                       size_t program_length, float* out, size_t n, void* stream);

// ApplyAdamW of runtime/train/optimizer.h: the members of AdamWUpdate, in their order, then whether
// the decay factor is applied.  `parameters_bf16`: may be null; else gets the new parameters,
// rounded to nearest even (bf16 training with f32 master weights).
struct muster_gpu_adamw_update {
  float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size, sqrt_correction2, epsilon, decay_factor;
  int32_t decay;
};
int muster_gpu_adamw(const struct muster_gpu_adamw_update* update, float* parameters,
                     float* exp_avg, float* exp_avg_sq, const float* gradient,
                     uint16_t* parameters_bf16, size_t n, void* stream);

// Tensors into one bucket of f32, one behind the other, and back.  `from`, `to`, `counts`: host
// arrays of at most MUSTER_GPU_TENSORS entries, read before the call returns.
// `bf16`: the tensors are bf16 (packing widens, unpacking rounds to nearest even), else f32.
#define MUSTER_GPU_TENSORS 64
int muster_gpu_pack(const void* const* from, const size_t* counts, size_t tensors, int bf16,
                    float* bucket, void* stream);
int muster_gpu_unpack(const float* bucket, void* const* to, const size_t* counts, size_t tensors,
                      int bf16, void* stream);

// out[i] = SumOfSquares of runtime/train/optimizer.h over the i-th `piece` values (the last may be
// shorter), as double.  TreeSum of them is the square of the norm.
int muster_gpu_sum_of_squares(const float* values, size_t n, size_t piece, double* out,
                              void* stream);

// crcs[i] = CRC-32C of the i-th `piece` bytes (the last may be shorter), as the checkpoint's
// manifest has them per MiB.
int muster_gpu_crc32c(const void* bytes, size_t n, size_t piece, uint32_t* crcs, void* stream);

// c[m,n] = a[m,k] * b[k,n], row-major, through cuBLASLt, which is loaded at the first call;
// `transpose_a`: a lies as [k,m], `transpose_b`: b as [n,k].  + c where `accumulate`, +
// residual[m,n] and + bias[n] to each row where they are not null (not both `accumulate` and
// `residual`); all of it in f32, rounded once.  `bf16`: all of them are bf16, else f32.  `batch`:
// so many of a, b, c (and residual), one behind the other; 0 is 1.  The same call gives the same
// bits each time. Addresses are multiples of 16.  `workspace`: at least MUSTER_GPU_MATMUL_WORKSPACE
// bytes of the device, used by one call at a time.  -1: no cuBLASLt; -2: it has no way to do this.
#define MUSTER_GPU_MATMUL_WORKSPACE 33554432
struct muster_gpu_matmul_call {
  size_t m, n, k;
  int32_t transpose_a, transpose_b, bf16, accumulate;
  const void* a;
  const void* b;
  void* c;
  const void* bias;
  const void* residual;
  size_t batch;
};
int muster_gpu_matmul(const struct muster_gpu_matmul_call* what, void* workspace, void* stream);

#ifdef __cplusplus
}
#endif
