#include "runtime/train/precision.h"

namespace muster {
namespace {

constexpr double kLeastScale = 1.0 / 16384;
constexpr double kMostScale = 16777216;

}  // namespace

ScaleState Begin(const LossScaling& scaling) {
  return {.scale = scaling.scale};
}

ScaleState After(const LossScaling& scaling, const ScaleState& state, bool finite) {
  if (!scaling.dynamic) return state;
  if (!finite) return {.scale = MayBlameScale(scaling, state) ? state.scale / 2 : state.scale};
  if (state.good_steps + 1 < scaling.growth_interval || state.scale * 2 > kMostScale) {
    return {.scale = state.scale, .good_steps = state.good_steps + 1};
  }
  return {.scale = state.scale * 2};
}

bool MayBlameScale(const LossScaling& scaling, const ScaleState& state) {
  return scaling.dynamic && state.scale / 2 >= kLeastScale;
}

}  // namespace muster
