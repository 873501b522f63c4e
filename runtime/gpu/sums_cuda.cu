// The kernels behind kernels_abi.h that make a few numbers of many: norm and checksums.
#include "runtime/gpu/floats_cuda.h"
#include "runtime/gpu/kernels_abi.h"

namespace muster::gpu_kernels {
namespace {

// A block a piece, a thread a lane: SumOfSquares has 32 of them, and then a fixed tree.  The square
// of an f32 is exact in f64.
constexpr int kLanes = 32;
__global__ void SumOfSquares(const float* values, std::size_t n, std::size_t piece, double* out) {
  __shared__ double lanes[kLanes];
  const std::size_t begin = blockIdx.x * piece;
  const std::size_t end = begin + piece < n ? begin + piece : n;
  double sum = 0;
  for (std::size_t i = begin + threadIdx.x; i < end; i += kLanes) {
    const double x = values[i];
    sum = sum + x * x;
  }
  lanes[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  out[blockIdx.x] = lanes[0];
}

// ---- CRC-32C ------------------------------------------------------------------------------------

constexpr std::uint32_t kPolynomial = 0x82F63B78U;  // Reflected, as all that follows.

// a * b modulo the polynomial.
__device__ std::uint32_t Times(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (std::uint32_t bit = 1U << 31U; bit != 0; bit >>= 1U) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1U) != 0 ? (b >> 1U) ^ kPolynomial : b >> 1U;
  }
  return product;
}

// x to the power of 8 * bytes: what a checksum is multiplied with when so many bytes follow.
__device__ std::uint32_t Shift(std::size_t bytes) {
  std::uint32_t power = 1U << 31U;
  std::uint32_t base = 1U << 23U;
  for (; bytes != 0; bytes >>= 1U) {
    if ((bytes & 1U) != 0) power = Times(power, base);
    base = Times(base, base);
  }
  return power;
}

// A block a piece; each thread has a run of it, and the first puts the runs' checksums together.
__global__ void Crc32c(const std::uint8_t* bytes, std::size_t n, std::size_t piece,
                       std::uint32_t* crcs) {
  __shared__ std::uint32_t table[256];
  __shared__ std::uint32_t parts[kThreads];
  std::uint32_t entry = threadIdx.x;
  for (int bit = 0; bit < 8; ++bit) {
    entry = (entry & 1U) != 0 ? (entry >> 1U) ^ kPolynomial : entry >> 1U;
  }
  table[threadIdx.x] = entry;
  __syncthreads();
  const std::size_t begin = blockIdx.x * piece;
  const std::size_t size = begin + piece < n ? piece : n - begin;
  const std::size_t run = (size + kThreads - 1) / kThreads;
  const std::size_t from = threadIdx.x * run < size ? threadIdx.x * run : size;
  const std::size_t to = from + run < size ? from + run : size;
  std::uint32_t crc = 0xFFFFFFFFU;
  for (std::size_t i = from; i < to; ++i) {
    crc = table[(crc ^ bytes[begin + i]) & 0xFFU] ^ (crc >> 8U);
  }
  parts[threadIdx.x] = ~crc;
  __syncthreads();
  if (threadIdx.x != 0) return;
  const std::uint32_t whole = Shift(run);
  std::uint32_t sum = parts[0];
  for (std::size_t t = 1; t < kThreads && t * run < size; ++t) {
    const std::size_t left = size - t * run;
    sum = Times(left >= run ? whole : Shift(left), sum) ^ parts[t];
  }
  crcs[blockIdx.x] = sum;
}

}  // namespace

MUSTER_EXPORT int muster_gpu_sum_of_squares(const float* values, size_t n, size_t piece,
                                            double* out, void* stream) {
  if (n == 0 || piece == 0) return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>((n + piece - 1) / piece);
  SumOfSquares<<<blocks, kLanes, 0, StreamOf(stream)>>>(values, n, piece, out);
  return Launched();
}

MUSTER_EXPORT int muster_gpu_crc32c(const void* bytes, size_t n, size_t piece, uint32_t* crcs,
                                    void* stream) {
  if (n == 0 || piece == 0) return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>((n + piece - 1) / piece);
  Crc32c<<<blocks, kThreads, 0, StreamOf(stream)>>>(static_cast<const std::uint8_t*>(bytes), n,
                                                    piece, crcs);
  return Launched();
}

}  // namespace muster::gpu_kernels
