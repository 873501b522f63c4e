// The training state of one rank in its GPU's memory, and a step of it: the gradient
// (gpu_gradients_cuda.h has the streams, and who may touch what), the verdict, the update.
//
// Every rank has the whole state, and all have the same bits.  One thread.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>

#include "runtime/train/gpu_gradients_cuda.h"

namespace muster {

class GpuLoop {
 public:
  // The parts outlive it, as do those that GpuGradients::Parts names.
  struct Parts {
    GpuDevice& device;
    GpuModel& model;
    ProcessGroup* group = nullptr;  // Null: one rank.
    Clock& clock;
    std::size_t group_elements = GpuSumPlan::kGroupElements;
  };
  // kInvalid: the options, or fewer micro-batches than ranks.  kUnimplemented: ZeRO-1.
  static Result<std::unique_ptr<GpuLoop>> Make(const TrainOptions& options, const Parts& parts);

  const Layout& layout() const { return layout_; }
  std::uint32_t micro_batches() const { return topology_.micro_batches(); }
  // Parameters (f32: the master weights), exp_avg, exp_avg_sq.
  std::span<float* const, 3> arrays() const { return arrays_; }

  // After arrays() were filled, in the order of the compute stream: goes on from there.
  Status Begin(const GpuProgress& progress);
  const GpuProgress& progress() const { return progress_; }

  struct Said {
    bool stop = false;  // This rank was asked to.
    float staged = 0;   // Anything, summed over the ranks.
  };
  struct End {
    GpuVerdict verdict;
    float staged = 0;
  };
  // kDataLoss: see Judge; everything else says which call failed, and where.
  Result<End> Step(const Said& said);

  // The next update follows that mark.
  void HoldUpdate(CudaEvent until) { hold_ = until; }
  Duration waited() const { return gradients_->waited(); }

 private:
  GpuLoop(const TrainOptions& options, const Parts& parts, Layout layout, Topology topology);
  Status Open();
  Status Update(const GpuVerdict& verdict);

  const TrainOptions options_;
  const Parts parts_;
  const Layout layout_;
  const Topology topology_;
  const std::vector<Layout::Piece> pieces_;
  std::array<float*, 3> arrays_ = {};
  std::uint16_t* working_ = nullptr;  // bf16: the weights that the model sees.
  std::unique_ptr<GpuGradients> gradients_;
  GpuProgress progress_;
  std::optional<CudaEvent> hold_;
};

}  // namespace muster
