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

Result<GptConfig> ToGptConfig(const ByteGptOptions& options) {
  GptConfig config;
  if (options.size == "124M") {
    // GPT-2's: the embedding has its padded vocabulary, so that the work is that of GPT-2.
    config = {.layers = 12, .width = 768, .heads = 12, .context = 1024, .vocabulary = 50304};
  }
  if (options.layers > 0) config.layers = options.layers;
  if (options.channels > 0) config.width = options.channels;
  if (options.heads > 0) config.heads = options.heads;
  if (options.context > 0) config.context = options.context;
  const bool cuda = options.device == "cuda";
  if (config.width % config.heads != 0 || (cuda && config.width % 16 != 0)) {
    return Status(Code::kInvalid, std::to_string(config.width) + " channels and " +
                                      std::to_string(config.heads) +
                                      " heads: the channels must be a multiple of the heads" +
                                      (cuda ? ", and of 16 with --device cuda" : ""));
  }
  if (options.backend == "nccl" && !cuda) {
    return Status(Code::kInvalid, "--backend nccl moves the memory of GPUs: add --device cuda");
  }
  if (options.backend == "hybrid" && cuda) {
    return Status(Code::kInvalid,
                  "--backend hybrid moves the memory of hosts; with --device cuda it is nccl");
  }
  return config;
}

double FlopsPerToken(const GptConfig& config) {
  double parameters = 0;
  for (const TensorSpec& tensor : GptTensors(config)) {
    parameters += static_cast<double>(tensor.elements());
  }
  return 6 * parameters + 12 * static_cast<double>(config.layers) *
                              static_cast<double>(config.width) *
                              static_cast<double>(config.context);
}

Result<TrainOptions> ToTrainOptions(const ByteGptOptions& options) {
  const auto scaling = ToLossScaling(options.loss_scale);
  if (!scaling.ok()) return scaling.status();
  TrainOptions train{.steps = options.steps,
                     .stop_after = options.stop_after,
                     .micro_batches = options.micro_batches,
                     .accumulate = options.accumulate,
                     .seed = options.seed,
                     .from_memory = options.resume == "memory",
                     .skip_busy_saves = options.skip_busy_saves,
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
  RETURN_IF_ERROR(ToGptConfig(options).status());
  return train;
}

}  // namespace muster
