// Which tensor of a GPT is which, in the order of GptTensors.  A pure table.
#pragma once

#include <cstddef>

namespace muster {

enum GptPart : std::size_t {
  kNorm1Weight,
  kNorm1Bias,
  kQkvWeight,
  kQkvBias,
  kMixWeight,
  kMixBias,
  kNorm2Weight,
  kNorm2Bias,
  kWideWeight,
  kWideBias,
  kOutWeight,
  kOutBias,
  kParts
};
inline constexpr std::size_t kTokens = 0;
inline constexpr std::size_t kPositions = 1;
inline constexpr std::size_t kFirstBlock = 2;

inline constexpr std::size_t kByteValues = 256;

}  // namespace muster
