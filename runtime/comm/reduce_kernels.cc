#include <bit>
#include <cstring>

#include "runtime/comm/clones.h"
#include "runtime/comm/reduce.h"

namespace muster::kernels {
namespace {

// For four lines 2 KiB ahead; behind the end it does no harm.
inline void AskAhead(const void* values) {
  const auto* at = static_cast<const char*>(values) + 2048;
  for (std::size_t line = 0; line < 4; ++line) __builtin_prefetch(at + 64 * line);
}

}  // namespace

// memcpy takes `rep movsb` for such sizes, which waits for each line in turn: a tenth to a quarter
// longer at 4 MiB.
MUSTER_CLONES void CopyShared(std::byte* to, const std::byte* from, std::size_t n) {
  constexpr std::size_t kRun = 256;
  std::size_t at = 0;
  for (; at + kRun <= n; at += kRun) {
    AskAhead(from + at);
    for (std::size_t line = 0; line < kRun; line += 64) {
      __builtin_memcpy(to + at + line, from + at + line, 64);
    }
  }
  if (at < n) std::memcpy(to + at, from + at, n - at);
}

// NOLINTBEGIN(bugprone-macro-parentheses): types take none.

// Equal pointers are fine: no element is read after it was written.  `right` is what another rank
// wrote just now: its lines come from that core, and are asked for ahead.
#define MUSTER_KERNEL(name, T, expression)                                        \
  MUSTER_CLONES void name(T* out, const T* left, const T* right, std::size_t n) { \
    constexpr std::size_t kRun = 256 / sizeof(T);                                 \
    std::size_t at = 0;                                                           \
    for (; at + kRun <= n; at += kRun) {                                          \
      AskAhead(left + at);                                                        \
      AskAhead(right + at);                                                       \
      MUSTER_IVDEP for (std::size_t i = at; i < at + kRun; ++i) {                 \
        const T a = left[i];                                                      \
        const T b = right[i];                                                     \
        out[i] = (expression);                                                    \
      }                                                                           \
    }                                                                             \
    MUSTER_IVDEP for (std::size_t i = at; i < n; ++i) {                           \
      const T a = left[i];                                                        \
      const T b = right[i];                                                       \
      out[i] = (expression);                                                      \
    }                                                                             \
  }

// A NaN on either side wins.
MUSTER_KERNEL(SumF32, float, a + b)
MUSTER_KERNEL(MinF32, float, b < a || b != b ? b : a)
MUSTER_KERNEL(MaxF32, float, b > a || b != b ? b : a)
MUSTER_KERNEL(ProdF32, float, a* b)
MUSTER_KERNEL(SumF64, double, a + b)
MUSTER_KERNEL(MinF64, double, b < a || b != b ? b : a)
MUSTER_KERNEL(MaxF64, double, b > a || b != b ? b : a)
MUSTER_KERNEL(ProdF64, double, a* b)

// Unsigned, so that they wrap.
#define MUSTER_WRAP(T, U, operation) \
  static_cast<T>(static_cast<U>(static_cast<U>(a) operation static_cast<U>(b)))
MUSTER_KERNEL(SumI32, std::int32_t, MUSTER_WRAP(std::int32_t, std::uint32_t, +))
MUSTER_KERNEL(MinI32, std::int32_t, b < a ? b : a)
MUSTER_KERNEL(MaxI32, std::int32_t, b > a ? b : a)
MUSTER_KERNEL(ProdI32, std::int32_t, MUSTER_WRAP(std::int32_t, std::uint32_t, *))
MUSTER_KERNEL(SumI64, std::int64_t, MUSTER_WRAP(std::int64_t, std::uint64_t, +))
MUSTER_KERNEL(MinI64, std::int64_t, b < a ? b : a)
MUSTER_KERNEL(MaxI64, std::int64_t, b > a ? b : a)
MUSTER_KERNEL(ProdI64, std::int64_t, MUSTER_WRAP(std::int64_t, std::uint64_t, *))
MUSTER_KERNEL(SumU8, std::uint8_t, MUSTER_WRAP(std::uint8_t, std::uint32_t, +))
MUSTER_KERNEL(MinU8, std::uint8_t, b < a ? b : a)
MUSTER_KERNEL(MaxU8, std::uint8_t, b > a ? b : a)
MUSTER_KERNEL(ProdU8, std::uint8_t, MUSTER_WRAP(std::uint8_t, std::uint32_t, *))

// NOLINTEND(bugprone-macro-parentheses): the rest has no macros.

MUSTER_CLONES void DivideF32(float* values, float by, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) values[i] /= by;
}

MUSTER_CLONES void DivideF64(double* values, double by, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) values[i] /= by;
}

// The exponent is rebased by an integer addition; subnormals are made normal by a subtraction.
MUSTER_CLONES void WidenF16(float* out, const std::uint16_t* in, std::size_t n) {
  constexpr std::uint32_t kExponent = 0x7C00U << 13U;
  constexpr std::uint32_t kRebase = (127U - 15U) << 23U;
  const float subnormal_base = std::bit_cast<float>(113U << 23U);
  MUSTER_IVDEP for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = in[i];
    const std::uint32_t magnitude = (bits & 0x7FFFU) << 13U;
    const std::uint32_t exponent = magnitude & kExponent;
    const std::uint32_t normal = magnitude + kRebase;
    const std::uint32_t infinite = normal + ((128U - 16U) << 23U);
    const float small = std::bit_cast<float>(normal + (1U << 23U)) - subnormal_base;
    std::uint32_t wide = exponent == kExponent ? infinite : normal;
    wide = exponent == 0 ? std::bit_cast<std::uint32_t>(small) : wide;
    out[i] = std::bit_cast<float>(wide | (bits & 0x8000U) << 16U);
  }
}

MUSTER_CLONES void NarrowF16(std::uint16_t* out, const float* in, std::size_t n) {
  constexpr std::uint32_t kInfinity = 255U << 23U;
  constexpr std::uint32_t kTooLarge = (127U + 16U) << 23U;
  constexpr std::uint32_t kSmallestNormal = 113U << 23U;
  constexpr std::uint32_t kMagic = ((127U - 15U) + (23U - 10U) + 1U) << 23U;
  constexpr std::uint32_t kRebase = (127U - 15U) << 23U;
  const float magic = std::bit_cast<float>(kMagic);
  MUSTER_IVDEP for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    // The addition rounds a subnormal; the carry of the other rounds a normal number.
    const float added = std::bit_cast<float>(magnitude) + magic;
    const std::uint32_t small = std::bit_cast<std::uint32_t>(added) - kMagic;
    const std::uint32_t odd = (magnitude >> 13U) & 1U;
    const std::uint32_t normal = (magnitude - kRebase + 0xFFFU + odd) >> 13U;
    const std::uint32_t large = magnitude > kInfinity ? 0x7E00U : 0x7C00U;
    std::uint32_t half = magnitude < kSmallestNormal ? small : normal;
    half = magnitude >= kTooLarge ? large : half;
    out[i] = static_cast<std::uint16_t>(half | (bits & 0x80000000U) >> 16U);
  }
}

MUSTER_CLONES void WidenBF16(float* out, const std::uint16_t* in, std::size_t n) {
  MUSTER_IVDEP for (std::size_t i = 0; i < n; ++i) {
    out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(in[i]) << 16U);
  }
}

MUSTER_CLONES void NarrowBF16(std::uint16_t* out, const float* in, std::size_t n) {
  MUSTER_IVDEP for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
    const std::uint32_t quiet = (bits >> 16U) | 0x40U;
    out[i] = static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet : rounded);
  }
}

}  // namespace muster::kernels
