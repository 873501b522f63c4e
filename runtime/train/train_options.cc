#include "runtime/train/train_options.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::uint64_t kMicroBatchesMost = 65536;

std::string Shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

bool PowerOfTwo(double value) {
  int exponent = 0;
  return std::isfinite(value) && value > 0 && std::frexp(value, &exponent) == 0.5;
}

std::string OptimizerFact(const OptimizerConfig& o) {
  std::string fact = "AdamW lr " + Shortest(o.learning_rate) + " betas " + Shortest(o.beta1) + " " +
                     Shortest(o.beta2) + " eps " + Shortest(o.epsilon) + " decay " +
                     Shortest(o.weight_decay) + " clip " + Shortest(o.clip_norm) + " warm-up " +
                     std::to_string(o.warmup_steps) + " final " + Shortest(o.final_fraction);
  // Checkpoints from before there was a choice name none.
  if (o.schedule != Schedule::kCosine) fact += std::string(" schedule ") + NameOf(o.schedule);
  return fact;
}

}  // namespace

Status Check(const TrainOptions& options) {
  std::vector<std::string> wrong;
  const Status optimizer = Check(options.optimizer);
  if (!optimizer.ok()) wrong.push_back(optimizer.message());
  const std::uint64_t all = std::uint64_t{options.micro_batches} * options.accumulate;
  if (all == 0 || all > kMicroBatchesMost) {
    wrong.push_back("a step has " + std::to_string(options.micro_batches) + " x " +
                    std::to_string(options.accumulate) + " micro-batches, allowed are 1 to " +
                    std::to_string(kMicroBatchesMost));
  }
  const LossScaling& scaling = options.loss_scaling;
  if (!PowerOfTwo(scaling.scale)) {
    wrong.push_back("the loss scale is " + Shortest(scaling.scale) +
                    ", allowed is a power of two, such as 65536");
  }
  if (scaling.dynamic && scaling.growth_interval == 0) {
    wrong.emplace_back("the growth interval of the loss scale is 0, allowed is 1 or more steps");
  }
  return wrong.empty() ? Status() : Status(Code::kInvalid, Join(wrong, "; "));
}

RunFacts FactsOf(const TrainOptions& options, std::uint64_t parameters) {
  RunFacts facts = options.facts;
  facts["seed"] = std::to_string(options.seed);
  facts["steps"] = std::to_string(options.steps);
  facts["micro_batches"] =
      std::to_string(std::uint64_t{options.micro_batches} * options.accumulate);
  facts["parameters"] = std::to_string(parameters);
  facts["optimizer"] = OptimizerFact(options.optimizer);
  // What is as it always was, older checkpoints do not name.
  if (options.precision == Precision::kBF16) facts["precision"] = "bf16";
  const LossScaling& scaling = options.loss_scaling;
  if (scaling.dynamic) {
    facts["loss_scale"] = "dynamic from " + Shortest(scaling.scale) + ", doubled after " +
                          std::to_string(scaling.growth_interval) + " steps";
  } else if (scaling.scale != 1) {
    facts["loss_scale"] = Shortest(scaling.scale);
  }
  if (!options.deterministic) facts["deterministic"] = "false";
  return facts;
}

}  // namespace muster
