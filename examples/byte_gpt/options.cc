#include "examples/byte_gpt/options.h"

#include <charconv>

namespace muster {
namespace {

Result<LossScaling> ToLossScaling(const std::string& text) {
  if (text == "dynamic") return LossScaling{.scale = kDynamicLossScale, .dynamic = true};
  LossScaling scaling;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, scaling.scale);
  if (parsed.ec == std::errc() && parsed.ptr == end) return scaling;
  return Status(Code::kInvalid, "--loss-scale is \"" + text +
                                    "\", allowed is a power of two, such as 65536, or dynamic");
}

}  // namespace

Result<TrainOptions> ToTrainOptions(const ByteGptOptions& options) {
  const auto scaling = ToLossScaling(options.loss_scale);
  if (!scaling.ok()) return scaling.status();
  TrainOptions train{.steps = options.steps,
                     .stop_after = options.stop_after,
                     .micro_batches = options.micro_batches,
                     .accumulate = options.accumulate,
                     .seed = options.seed,
                     .from_memory = options.resume == "memory",
                     .checkpoint_every = options.checkpoint_every,
                     .precision = options.bf16 ? Precision::kBF16 : Precision::kF32,
                     .loss_scaling = *scaling,
                     .on_nan = options.nan == "skip" ? OnNan::kSkip : OnNan::kStop,
                     .zero1 = options.zero1,
                     .deterministic = !options.no_deterministic};
  train.optimizer.clip_norm = options.clip;
  train.optimizer.warmup_steps = options.warmup_steps;
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kLinear, Schedule::kCosine}) {
    if (options.schedule == NameOf(schedule)) train.optimizer.schedule = schedule;
  }
  RETURN_IF_ERROR(Check(train));
  return train;
}

}  // namespace muster
