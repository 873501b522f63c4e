#include "runtime/base/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace muster {

void StreamCopy(std::byte* into, const std::byte* from, std::size_t bytes) {
#ifdef __SSE2__
  constexpr std::size_t kLine = 64, kWord = sizeof(__m128i);
  const std::size_t past = reinterpret_cast<std::uintptr_t>(into) % kLine;
  const std::size_t before = std::min(bytes, (kLine - past) % kLine);
  std::memcpy(into, from, before);
  std::size_t at = before;
  for (; at + kLine <= bytes; at += kLine) {
    __m128i line[kLine / kWord];
    std::memcpy(line, from + at, kLine);
    auto* to = reinterpret_cast<__m128i*>(into + at);
    for (std::size_t i = 0; i < kLine / kWord; ++i) _mm_stream_si128(to + i, line[i]);
  }
  // Whoever is told of the copy after this finds it.
  _mm_sfence();
  std::memcpy(into + at, from + at, bytes - at);
#else
  std::memcpy(into, from, bytes);
#endif
}

}  // namespace muster
