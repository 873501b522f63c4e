// bf16 with f32 master weights, and loss scaling.
//
// With Precision::kBF16 the state keeps f32 master weights; the model gets a working copy whose
// values are rounded to bf16, and the gradient of each micro-batch is rounded to bf16 before it is
// summed, in f32.  (Micikevicius et al. 2018, with bf16 for their f16.)  Rounding is elementwise,
// so the bits still do not depend on the number of ranks.
//
// Loss scaling: gradients are those of scale * loss and are divided by the scale in the update.
// Dynamic: as PyTorch's GradScaler, a step whose gradient is not finite is skipped and halves the
// scale; after growth_interval good steps in a row it is doubled.
//
// Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace muster {

enum class Precision : std::uint8_t { kF32, kBF16 };

// out[i] = in[i], rounded to the nearest bf16, ties to even; a NaN stays one.  `out` may be `in`.
void RoundToBF16(float* out, const float* in, std::size_t n);

struct LossScaling {
  double scale = 1;  // At the start.  A power of two, so that it leaves no trace in the bits.
  bool dynamic = false;
  std::uint64_t growth_interval = 2000;  // Good steps in a row before the scale is doubled.
};
inline constexpr double kDynamicLossScale = 65536;  // PyTorch's start.

struct ScaleState {
  double scale = 1;
  std::uint64_t good_steps = 0;  // In a row, since the scale changed.
  bool operator==(const ScaleState&) const = default;
};

ScaleState Begin(const LossScaling& scaling);
// After a step whose gradient was finite, or was not.  The scale stays within 2^-14 to 2^24.
ScaleState After(const LossScaling& scaling, const ScaleState& state, bool finite);
// Whether a gradient that is not finite may be the scale's fault: it can still be halved.
bool MayBlameScale(const LossScaling& scaling, const ScaleState& state);

}  // namespace muster
