// One rank's part of a step on its GPU, up to the summed gradient.
//
// Three streams: `compute` (the model, this rank's own sums, the update), the group's own (moves
// between GPUs and what combines), `copies` (checkpoints, gpu_staging_cuda.h).  A step, and who may
// touch what:
//
//  1. compute: forward and backward of each of this rank's micro-batches, the gradient into a slot,
//     and the slots' sums as the rank's AccumulatePlan says.
//  2. As soon as all that makes a group (gpu_plan.h) of the last micro-batch is in the stream, the
//     group leaves, while backward goes on: start() marks compute, and the group's stream goes on
//     behind that mark.  From it on, compute touches that group of no slot.
//  3. The group's stream, group by group: all_to_all into `matrix`, which is its alone; combines
//     into this rank's slice of the result; all_gather.  The result lies in the slot of this rank's
//     first subtree.  Behind the last group: the sums of squares, and those and the tail into the
//     host's pinned memory.  With one rank, compute does this.
//  4. The host waits, once a step: for the end of 3, which is behind all of 1.  From then on slots
//     and pinned memory are the host's and compute's again.
//  5. The host judges (gpu_plan.h) and puts the update into compute (gpu_loop_cuda.h): it reads the
//     result and writes state and weights.  The next step's 1 is behind it in the same stream, so
//     the host does not wait for it.
//
// compute never waits for the group's stream: when a rank is lost it drains, and the group's
// deadline, abort and asynchronous errors end the host's wait.  One thread.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/process_group.h"
#include "runtime/gpu/device_cuda.h"
#include "runtime/train/gpu_model.h"
#include "runtime/train/gpu_plan.h"

namespace muster {

class GpuGradients {
 public:
  // All of them outlive this.
  struct Parts {
    GpuDevice& device;
    GpuModel& model;
    const Layout& layout;
    const Topology& topology;       // Each rank is a node of its own.
    ProcessGroup* group = nullptr;  // Of nccl, behind device.compute(); null: one rank.
    Clock& clock;
    bool bf16 = false;
  };
  static Result<std::unique_ptr<GpuGradients>> Make(
      const Parts& parts, std::size_t group_elements = GpuSumPlan::kGroupElements);

  struct Step {
    std::uint64_t step = 0;
    const void* weights = nullptr;
    float loss_scale = 1;
    // What this rank hands in beside its gradients, once: summed over the ranks.
    std::array<float, Layout::kTail> tail = {};
  };
  // 1 to 4.  The sums are valid until the next call.
  Result<GpuSums> Run(const Step& step);

  const float* result() const { return slot(plan_.slots[0]); }
  const GpuSumPlan& sum_plan() const { return sums_; }
  // Spent by the host waiting, so far.
  Duration waited() const { return waited_; }

 private:
  GpuGradients(const Parts& parts, GpuSumPlan sums);
  Status Open();
  Status Compute(const Step& step, const AccumulatePlan::Step& todo, bool last);
  Status Widen(std::uint32_t into, Range range);
  Status Add(const AccumulatePlan::Step& todo, Range range);
  Status Finish(std::size_t end);
  Status Depart(std::size_t group);
  Status Combine(std::size_t group, CudaStream stream);
  Status Conclude(CudaStream stream);
  Status Await();
  Result<std::string> NameBroken();
  float* slot(std::uint32_t number) const { return slots_[number]; }
  std::size_t rank() const { return parts_.topology.node(); }

  const Parts parts_;
  const GpuSumPlan sums_;
  const AccumulatePlan plan_;
  std::size_t last_compute_ = 0;  // Among the plan's steps.
  Backward told_;

  std::vector<float*> slots_;
  std::uint16_t* narrow_ = nullptr;  // bf16: the gradient of one micro-batch.
  float* matrix_ = nullptr;
  double* squares_ = nullptr;
  CudaEvent concluded_ = nullptr;
  // Pinned.
  float* words_ = nullptr;  // The tail of the first micro-batch, and that of all others.
  double* host_squares_ = nullptr;
  float* host_tail_ = nullptr;
  float* host_bucket_ = nullptr;

  // Of this step.
  std::uint32_t place_ = 0;
  std::size_t finished_ = 0;
  std::size_t departed_ = 0;
  std::vector<std::unique_ptr<Work>> works_;
  Status failed_;  // While the model told.
  Duration waited_{};
};

}  // namespace muster
