// The gradients of one rank's micro-batches of a step, summed in its slots of the arena.
//
// The sums follow the rank's AccumulatePlan.  During the last micro-batch a part of the vector is
// finished as soon as the model has told it final: rounded, added up as the plan says, and then
// announced bucket by bucket.  Who adds a part when does not change its bits.
//
// One thread.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/base/clock.h"
#include "runtime/comm/recorder.h"
#include "runtime/train/arena.h"
#include "runtime/train/backward.h"
#include "runtime/train/layout.h"
#include "runtime/train/model.h"
#include "runtime/train/topology.h"

namespace muster {

class GradientPass {
 public:
  // All of them outlive the pass.
  struct Parts {
    Model& model;
    const Layout& layout;
    const Topology& topology;
    const GradientView& gradients;
    Recorder& recorder;
    Clock& clock;
    bool round_to_bf16 = false;  // Each micro-batch's gradient.
  };
  explicit GradientPass(const Parts& parts);

  struct Step {
    std::uint64_t step = 0;
    const float* parameters = nullptr;
    float loss_scale = 1;
    bool stop = false;  // This rank was asked to stop: handed in with the loss.
  };
  // `reached` hears how many buckets are final, whenever more are; in the end all of them.
  // kInvalid: the model did not tell what it must (backward.h).
  Status Run(const Step& step, const std::function<void(std::size_t buckets)>& reached);

  // Spent so far.
  Duration forward() const { return forward_; }
  Duration backward() const { return backward_; }

 private:
  Status Compute(const Step& step, const AccumulatePlan::Step& todo, bool last);
  void Finish(std::size_t end);  // Elements up to there.
  void Add(const AccumulatePlan::Step& todo, Range range);
  float* slot(std::uint32_t number) const;

  const Parts parts_;
  const AccumulatePlan plan_;
  std::size_t last_compute_ = 0;  // Among the plan's steps.
  Backward told_;
  Duration forward_{};
  Duration backward_{};

  // Of the last micro-batch of this step.
  const std::function<void(std::size_t)>* reached_ = nullptr;
  std::size_t finished_ = 0;
};

}  // namespace muster
