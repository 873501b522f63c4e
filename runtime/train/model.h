// What the training loop needs of a model: its tensors, its start, its gradients.
//
// One instance belongs to one rank and is used by one thread.  Equal arguments must give equal
// bits on every rank: that is what makes a run independent of the number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/train/backward.h"
#include "runtime/train/layout.h"

namespace muster {

class Model {
 public:
  virtual ~Model() = default;

  // In the order in which a forward pass uses them.
  virtual std::vector<TensorSpec> Tensors() const = 0;

  // Fills the parameters as `seed` says.  Padding between tensors stays zero.
  virtual void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const = 0;

  // Writes (never adds to) the gradient of the mean loss of one micro-batch, whole: `parameters`
  // and `gradient` are flat vectors of layout.elements().  Tells `backward` which tensors are final
  // (backward.h).  Returns that loss, in nats, not scaled.
  virtual float Gradient(const MicroBatch& at, const Layout& layout, const float* parameters,
                         float* gradient, Backward& backward) = 0;

  virtual std::uint64_t tokens_per_micro_batch() const = 0;
};

}  // namespace muster
