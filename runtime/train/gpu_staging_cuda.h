// Copies runs of the state from the GPU straight into the host's memory that a checkpoint is staged
// in, on a stream of its own, while training goes on.
//
// The copies are behind what compute holds when they begin (the last update); the next update
// follows copied() (GpuLoop::HoldUpdate), so the state does not change under them.  Nothing else
// waits.  One copy at a time; one thread, the loop's.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/gpu/device_cuda.h"
#include "runtime/train/layout.h"

namespace muster {

class GpuStaging {
 public:
  static Result<std::unique_ptr<GpuStaging>> Make(GpuDevice& device);

  // `bytes` of them, counted over all runs, which lie one behind the other in `to` (pinned).
  struct Run {
    const float* from = nullptr;
    std::size_t elements = 0;
  };
  Status Begin(std::span<const Run> runs, Range bytes, std::byte* to);

  CudaEvent copied() const { return copied_; }
  bool busy() const { return busy_; }
  // True, once, when the copy that began has ended.
  Result<bool> TakeEnd();

 private:
  explicit GpuStaging(GpuDevice& device) : device_(device) {}

  GpuDevice& device_;
  CudaEvent changed_ = nullptr;
  CudaEvent copied_ = nullptr;
  bool busy_ = false;
};

}  // namespace muster
