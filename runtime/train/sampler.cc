#include "runtime/train/sampler.h"

#include "runtime/base/check.h"

namespace muster {
namespace {

// The finalizer of SplitMix64.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

// The high half of a product: maps a random word to [0, count) evenly.
std::uint64_t HighProduct(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(a) * b) >> 64U);
}

}  // namespace

std::uint64_t RandomWord(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  return Mix(Mix(Mix(seed) ^ stream) ^ index);
}

std::uint64_t SampleIndex(std::uint64_t seed, std::uint64_t step, std::uint32_t micro_batch,
                          std::uint64_t count) {
  CHECK(count > 0);
  return HighProduct(RandomWord(seed, step, micro_batch), count);
}

float RandomNormal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  std::uint64_t sum = 0;
  for (std::uint64_t word = 0; word < 3; ++word) {
    const std::uint64_t bits = RandomWord(seed, stream, 3 * index + word);
    for (unsigned part = 0; part < 4; ++part) sum += (bits >> (16 * part)) & 0xFFFFU;
  }
  return static_cast<float>(static_cast<double>(sum) / 65535.0 - 6.0);
}

}  // namespace muster
