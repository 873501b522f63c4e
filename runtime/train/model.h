// What the training loop needs of a model: its tensors, its start, its gradients.
//
// One instance belongs to one rank and is used by one thread.  Equal arguments must give equal
// bits on every rank: that is what makes a run independent of the number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/train/layout.h"

namespace muster {

class Model {
 public:
  virtual ~Model() = default;

  // In the order in which a forward pass uses them.
  virtual std::vector<TensorSpec> Tensors() const = 0;

  // Fills the parameters as `seed` says.  Padding between tensors stays zero.
  virtual void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const = 0;

  // Writes (never adds to) the gradient of the mean loss of one micro-batch of one step, whole.
  // Returns that loss, in nats.
  virtual float Gradient(std::uint64_t step, std::uint32_t micro_batch, const Layout& layout,
                         const float* parameters, float* gradient) = 0;

  virtual std::uint64_t tokens_per_micro_batch() const = 0;
};

}  // namespace muster
