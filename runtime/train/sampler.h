// Which part of the data a micro-batch gets: a function of (seed, step, micro-batch) and nothing
// else, so that a resumed run sees what an undisturbed one would have seen.  Pure; any thread.
#pragma once

#include <cstdint>

namespace muster {

// A well-mixed 64-bit word for each (seed, stream, index).
std::uint64_t RandomWord(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);

// Uniform in [0, count).
std::uint64_t SampleIndex(std::uint64_t seed, std::uint64_t step, std::uint32_t micro_batch,
                          std::uint64_t count);

// About normal (mean 0, variance 1, within +-6), without a libm call: the sum of 12 uniforms.
float RandomNormal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);

}  // namespace muster
