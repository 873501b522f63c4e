// AdamW, clipping by the global norm, and the learning rate's schedule.
//
// Every result is a function of the arguments' bits alone: no libm call whose last bit depends on
// the machine, and sums of a fixed shape.  Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/base/result.h"

namespace muster {

// How the learning rate goes on after its linear warm-up, in the words of most libraries:
// constant; linear or cosine, down to final_fraction at the last step (Loshchilov and Hutter 2017).
enum class Schedule : std::uint8_t { kConstant, kLinear, kCosine };
const char* NameOf(Schedule schedule);  // "constant".

struct OptimizerConfig {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;  // Of the mean gradient, over all ranks and tensors; 0: no clipping.
  Schedule schedule = Schedule::kCosine;
  std::uint64_t warmup_steps = 100;
  double final_fraction = 0.1;  // linear and cosine end at this part of learning_rate.
};

// kInvalid: everything that is wrong with it, and what is allowed.
Status Check(const OptimizerConfig& config);

// Of the step with this number, counted from 0, of `steps` in all.
double LearningRate(const OptimizerConfig& config, std::uint64_t step, std::uint64_t steps);

// cos(pi * x) for x in [0, 1].
double CosPi(double x);

// Sum of squares of one bucket, then the canonical tree over the buckets' partials.
class SquareSum {
 public:
  // The next values; a multiple of kLanes but for the last time.
  void Add(const float* values, std::size_t n);
  double Total() const;

 private:
  static constexpr std::size_t kLanes = 32;
  double lanes_[kLanes] = {};
};
double SumOfSquares(const float* values, std::size_t n);
double TreeSum(std::span<const double> partials);

// The factor that gradients are multiplied with, so that mean(gradient) has at most clip_norm.
// `sum_of_squares` is of the summed gradients of `micro_batches`, each of loss * loss_scale.
double GradientScale(const OptimizerConfig& config, double sum_of_squares,
                     std::uint32_t micro_batches, double loss_scale = 1);

// What one AdamW update is made of, the same for all elements of a step.
struct AdamWUpdate {
  float gradient_scale = 1;
  float beta1 = 0, one_minus_beta1 = 0;
  float beta2 = 0, one_minus_beta2 = 0;
  float step_size = 0;         // Learning rate over the first moment's correction.
  float sqrt_correction2 = 0;  // 1 / sqrt of the second moment's correction.
  float epsilon = 0;
  float decay_factor = 1;  // 1 - learning rate * weight decay.
};

// AdamW (Loshchilov and Hutter 2019) with PyTorch's order of operations.  `updates`: of this run
// before this one; they differ from `step` where steps were skipped.
AdamWUpdate MakeUpdate(const OptimizerConfig& config, std::uint64_t step, std::uint64_t steps,
                       double gradient_scale, std::uint64_t updates);

// One slice of the vectors; `decay` says whether the decay factor is applied.
struct AdamWSlice {
  float* parameters = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  const float* gradient = nullptr;
  std::size_t elements = 0;
  bool decay = false;
};

void ApplyAdamW(const AdamWUpdate& update, const AdamWSlice& slice);

}  // namespace muster
