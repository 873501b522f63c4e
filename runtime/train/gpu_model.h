// What the training loop on a GPU needs of a model: what model.h asks of one on the host, but the
// computing is put into the GPU's compute stream, and nothing waits for it.
//
// One instance belongs to one rank and is used by one thread.  Equal arguments must give equal bits
// on every rank.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/train/backward.h"
#include "runtime/train/layout.h"

namespace muster {

class GpuModel {
 public:
  virtual ~GpuModel() = default;

  // In the order in which a forward pass uses them.
  virtual std::vector<TensorSpec> Tensors() const = 0;
  // Fills the host's parameters as `seed` says.
  virtual void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const = 0;

  // Of one micro-batch.  All memory is the GPU's; weights and gradient have layout.elements(), in
  // f32, or in bf16 with Precision::kBF16.
  struct Call {
    MicroBatch at;
    std::uint32_t place = 0;  // Which of this rank's micro-batches of the step it is.
    const void* weights = nullptr;
    void* gradient = nullptr;  // Written whole, but for padding between tensors.
    float* loss = nullptr;     // One: the mean, in nats, not scaled.
  };
  // Puts it into the compute stream.  Whatever the host writes for it (tokens) lies at a place of
  // its own for each `place`: the GPU reads it until the step has ended.  Tells `backward` a tensor
  // once what computes it is in the stream; the loop then puts behind it what needs it.
  virtual Status Gradient(const Call& call, const Layout& layout, Backward& backward) = 0;

  virtual std::uint64_t tokens_per_micro_batch() const = 0;
};

}  // namespace muster
