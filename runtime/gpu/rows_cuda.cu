// The kernels behind model_abi.h that sum rows or columns.  A row belongs to one warp (of logits:
// to one block), a column's sum is one of chunks of rows: each order is that of the shape alone.
#include <cmath>

#include "runtime/gpu/floats_cuda.h"
#include "runtime/gpu/model_abi.h"

namespace muster::gpu_kernels {
namespace {

constexpr int kWarps = kThreads / kWarp;
constexpr std::size_t kChunk = MUSTER_GPU_CHUNK_ROWS;

__device__ std::size_t RowOfWarp() {
  return blockIdx.x * static_cast<std::size_t>(kWarps) + threadIdx.x / kWarp;
}
__device__ std::size_t Lane() {
  return threadIdx.x % kWarp;
}

unsigned BlocksOfWarps(std::size_t rows) {
  return static_cast<unsigned>((rows + kWarps - 1) / kWarps);
}

// ---- Layer norm ---------------------------------------------------------------------------------

template <typename T>
__global__ void LayerNorm(muster_gpu_layer_norm_call c) {
  const std::size_t row = RowOfWarp();
  if (row >= c.rows) return;  // A whole warp.
  const T* in = static_cast<const T*>(c.in) + row * c.width;
  T* out = static_cast<T*>(c.out) + row * c.width;
  const auto* weight = static_cast<const T*>(c.weight);
  const auto* bias = static_cast<const T*>(c.bias);
  const float inverse = 1.0F / static_cast<float>(c.width);
  float sum = 0;
  for (std::size_t i = Lane(); i < c.width; i += kWarp) sum += Read(in[i]);
  const float mean = WarpSum(sum) * inverse;
  float squares = 0;
  for (std::size_t i = Lane(); i < c.width; i += kWarp) {
    const float x = Read(in[i]) - mean;
    squares += x * x;
  }
  const float rstd = 1.0F / sqrtf(WarpSum(squares) * inverse + 1e-5F);
  for (std::size_t i = Lane(); i < c.width; i += kWarp) {
    Write((Read(in[i]) - mean) * rstd * Read(weight[i]) + Read(bias[i]), out[i]);
  }
  if (Lane() != 0) return;
  c.mean[row] = mean;
  c.rstd[row] = rstd;
}

template <typename T>
__global__ void LayerNormInput(muster_gpu_layer_norm_backward_call c) {
  const std::size_t row = RowOfWarp();
  if (row >= c.rows) return;
  const T* in = static_cast<const T*>(c.in) + row * c.width;
  const T* d_out = static_cast<const T*>(c.d_out) + row * c.width;
  T* d_in = static_cast<T*>(c.d_in) + row * c.width;
  const auto* weight = static_cast<const T*>(c.weight);
  const float mean = c.mean[row];
  const float rstd = c.rstd[row];
  const float inverse = 1.0F / static_cast<float>(c.width);
  float sum_d = 0;
  float sum_dx = 0;
  for (std::size_t i = Lane(); i < c.width; i += kWarp) {
    const float d = Read(d_out[i]) * Read(weight[i]);
    sum_d += d;
    sum_dx += d * ((Read(in[i]) - mean) * rstd);
  }
  const float mean_d = WarpSum(sum_d) * inverse;
  const float mean_dx = WarpSum(sum_dx) * inverse;
  for (std::size_t i = Lane(); i < c.width; i += kWarp) {
    const float normal = (Read(in[i]) - mean) * rstd;
    const float d = (Read(d_out[i]) * Read(weight[i]) - mean_d - normal * mean_dx) * rstd;
    Write(Read(d_in[i]) + d, d_in[i]);
  }
}

// ---- Sums of columns: of each chunk of rows, then of the chunks ---------------------------------

// scratch[chunk][0][column]: of d_out * normal, [1]: of d_out.
template <typename T>
__global__ void LayerNormChunks(muster_gpu_layer_norm_backward_call c) {
  const std::size_t column = First();
  if (column >= c.width) return;
  const auto* in = static_cast<const T*>(c.in);
  const auto* d_out = static_cast<const T*>(c.d_out);
  const std::size_t begin = blockIdx.y * kChunk;
  const std::size_t end = begin + kChunk < c.rows ? begin + kChunk : c.rows;
  float weights = 0;
  float biases = 0;
  for (std::size_t row = begin; row < end; ++row) {
    const float d = Read(d_out[row * c.width + column]);
    weights += d * ((Read(in[row * c.width + column]) - c.mean[row]) * c.rstd[row]);
    biases += d;
  }
  float* to = c.scratch + blockIdx.y * 2 * c.width;
  to[column] = weights;
  to[c.width + column] = biases;
}

template <typename T>
__global__ void SumChunks(muster_gpu_sum_rows_call c) {
  const std::size_t column = First();
  if (column >= c.width) return;
  const auto* in = static_cast<const T*>(c.in);
  const std::size_t begin = blockIdx.y * kChunk;
  const std::size_t end = begin + kChunk < c.rows ? begin + kChunk : c.rows;
  float sum = 0;
  for (std::size_t row = begin; row < end; ++row) sum += Read(in[row * c.width + column]);
  c.scratch[blockIdx.y * c.width + column] = sum;
}

// out[column] = the sum of partials[chunk * stride + column]: eight threads a column, each every
// eighth chunk, then a tree.  Blocks of kWarp x kShares threads.
constexpr int kShares = 8;
template <typename T>
__global__ void FinishColumns(const float* partials, std::size_t stride, std::size_t chunks,
                              std::size_t width, T* out) {
  __shared__ float shares[kShares][kWarp];
  const std::size_t column = blockIdx.x * static_cast<std::size_t>(kWarp) + threadIdx.x;
  float sum = 0;
  if (column < width) {
    for (std::size_t chunk = threadIdx.y; chunk < chunks; chunk += kShares) {
      sum += partials[chunk * stride + column];
    }
  }
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (int half = kShares / 2; half > 0; half /= 2) {
    for (int s = 0; s < half; ++s) shares[s][threadIdx.x] += shares[s + half][threadIdx.x];
  }
  Write(shares[0][threadIdx.x], out[column]);
}

template <typename T>
int Finish(const float* partials, std::size_t stride, std::size_t rows, std::size_t width,
           void* out, cudaStream_t stream) {
  const dim3 threads(kWarp, kShares);
  const auto blocks = static_cast<unsigned>((width + kWarp - 1) / kWarp);
  FinishColumns<<<blocks, threads, 0, stream>>>(partials, stride, (rows + kChunk - 1) / kChunk,
                                                width, static_cast<T*>(out));
  return Launched();
}

dim3 ChunkBlocks(std::size_t rows, std::size_t width) {
  return {static_cast<unsigned>((width + kThreads - 1) / kThreads),
          static_cast<unsigned>((rows + kChunk - 1) / kChunk)};
}

template <typename T>
int LayerNormBackward(const muster_gpu_layer_norm_backward_call& c, cudaStream_t stream) {
  // The columns first: they read nothing that the rows write.
  LayerNormChunks<T><<<ChunkBlocks(c.rows, c.width), kThreads, 0, stream>>>(c);
  LayerNormInput<T><<<BlocksOfWarps(c.rows), kThreads, 0, stream>>>(c);
  const int error = Finish<T>(c.scratch, 2 * c.width, c.rows, c.width, c.d_weight, stream);
  if (error != 0) return error;
  return Finish<T>(c.scratch + c.width, 2 * c.width, c.rows, c.width, c.d_bias, stream);
}

template <typename T>
int SumRows(const muster_gpu_sum_rows_call& c, cudaStream_t stream) {
  SumChunks<T><<<ChunkBlocks(c.rows, c.width), kThreads, 0, stream>>>(c);
  return Finish<T>(c.scratch, c.width, c.rows, c.width, c.out, stream);
}

// ---- Softmax over the past ----------------------------------------------------------------------

template <typename T>
__global__ void CausalSoftmax(T* scores, std::size_t rows, std::size_t size, float scale) {
  const std::size_t row = RowOfWarp();
  if (row >= rows) return;
  T* values = scores + row * size;
  const std::size_t n = row % size + 1;
  float most = -INFINITY;
  for (std::size_t i = Lane(); i < n; i += kWarp) most = fmaxf(most, scale * Read(values[i]));
  most = WarpMax(most);
  float sum = 0;
  for (std::size_t i = Lane(); i < n; i += kWarp) sum += expf(scale * Read(values[i]) - most);
  const float share = 1.0F / WarpSum(sum);
  for (std::size_t i = Lane(); i < size; i += kWarp) {
    Write(i < n ? expf(scale * Read(values[i]) - most) * share : 0.0F, values[i]);
  }
}

template <typename T>
__global__ void CausalSoftmaxBackward(const T* probabilities, T* d, std::size_t rows,
                                      std::size_t size, float scale) {
  const std::size_t row = RowOfWarp();
  if (row >= rows) return;
  const T* p = probabilities + row * size;
  T* values = d + row * size;
  const std::size_t n = row % size + 1;
  float dot = 0;
  for (std::size_t i = Lane(); i < n; i += kWarp) dot += Read(p[i]) * Read(values[i]);
  dot = WarpSum(dot);
  for (std::size_t i = Lane(); i < size; i += kWarp) {
    Write(i < n ? scale * (Read(p[i]) * (Read(values[i]) - dot)) : 0.0F, values[i]);
  }
}

// ---- Cross entropy ------------------------------------------------------------------------------

// The greatest of some values, and the sum of exp(value - greatest).
struct ExpSum {
  float most, sum;
};

__device__ ExpSum Joined(ExpSum a, ExpSum b) {
  const float most = fmaxf(a.most, b.most);
  if (most == -INFINITY) return {most, 0.0F};
  return {most, a.sum * expf(a.most - most) + b.sum * expf(b.most - most)};
}

template <typename T>
__global__ void CrossEntropy(muster_gpu_cross_entropy_call c) {
  __shared__ ExpSum shares[kThreads];
  __shared__ float target_logit;
  const std::size_t row = blockIdx.x;
  const std::size_t target = c.targets[row];
  T* logits = static_cast<T*>(c.logits) + row * c.width;
  ExpSum mine{-INFINITY, 0.0F};
  for (std::size_t i = threadIdx.x; i < c.width; i += kThreads) {
    const float x = Read(logits[i]);
    mine = Joined(mine, {x, 1.0F});
    if (i == target) target_logit = x;
  }
  shares[threadIdx.x] = mine;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      shares[threadIdx.x] = Joined(shares[threadIdx.x], shares[threadIdx.x + half]);
    }
    __syncthreads();
  }
  const ExpSum all = shares[0];
  const float share = c.scale / static_cast<float>(c.rows);
  for (std::size_t i = threadIdx.x; i < c.width; i += kThreads) {
    const float p = expf(Read(logits[i]) - all.most) / all.sum;
    Write((i == target ? p - 1.0F : p) * share, logits[i]);
  }
  if (threadIdx.x == 0) c.losses[row] = logf(all.sum) + (all.most - target_logit);
}

__global__ void Mean(const float* values, std::size_t n, float* out) {
  __shared__ double shares[kThreads];
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < n; i += kThreads) sum += values[i];
  shares[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shares[threadIdx.x] += shares[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) *out = static_cast<float>(shares[0] / static_cast<double>(n));
}

}  // namespace

MUSTER_EXPORT int muster_gpu_layer_norm(const muster_gpu_layer_norm_call* what, void* stream) {
  const unsigned blocks = BlocksOfWarps(what->rows);
  if (what->bf16 != 0) {
    LayerNorm<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  } else {
    LayerNorm<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_layer_norm_backward(const muster_gpu_layer_norm_backward_call* what,
                                                 void* stream) {
  return what->bf16 != 0 ? LayerNormBackward<Brain>(*what, StreamOf(stream))
                         : LayerNormBackward<float>(*what, StreamOf(stream));
}

MUSTER_EXPORT int muster_gpu_sum_rows(const muster_gpu_sum_rows_call* what, void* stream) {
  return what->bf16 != 0 ? SumRows<Brain>(*what, StreamOf(stream))
                         : SumRows<float>(*what, StreamOf(stream));
}

MUSTER_EXPORT int muster_gpu_causal_softmax(void* scores, size_t matrices, size_t size, float scale,
                                            int bf16, void* stream) {
  const std::size_t rows = matrices * size;
  if (bf16 != 0) {
    CausalSoftmax<<<BlocksOfWarps(rows), kThreads, 0, StreamOf(stream)>>>(
        static_cast<Brain*>(scores), rows, size, scale);
  } else {
    CausalSoftmax<<<BlocksOfWarps(rows), kThreads, 0, StreamOf(stream)>>>(
        static_cast<float*>(scores), rows, size, scale);
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_causal_softmax_backward(const void* probabilities, void* d,
                                                     size_t matrices, size_t size, float scale,
                                                     int bf16, void* stream) {
  const std::size_t rows = matrices * size;
  if (bf16 != 0) {
    CausalSoftmaxBackward<<<BlocksOfWarps(rows), kThreads, 0, StreamOf(stream)>>>(
        static_cast<const Brain*>(probabilities), static_cast<Brain*>(d), rows, size, scale);
  } else {
    CausalSoftmaxBackward<<<BlocksOfWarps(rows), kThreads, 0, StreamOf(stream)>>>(
        static_cast<const float*>(probabilities), static_cast<float*>(d), rows, size, scale);
  }
  return Launched();
}

MUSTER_EXPORT int muster_gpu_cross_entropy(const muster_gpu_cross_entropy_call* what,
                                           void* stream) {
  const auto blocks = static_cast<unsigned>(what->rows);
  if (what->bf16 != 0) {
    CrossEntropy<Brain><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  } else {
    CrossEntropy<float><<<blocks, kThreads, 0, StreamOf(stream)>>>(*what);
  }
  Mean<<<1, kThreads, 0, StreamOf(stream)>>>(what->losses, what->rows, what->mean);
  return Launched();
}

}  // namespace muster::gpu_kernels
