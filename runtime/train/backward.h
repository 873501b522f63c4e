// What a model tells of one micro-batch while it computes: where its forward pass ends, and which
// tensors' gradients are final.  From that moment on nobody writes that gradient, so that it may be
// summed and sent while the backward pass goes on.
//
// A model tells every tensor once, in any order; what is told in the reverse order of use (the
// order of the layout) leaves soonest.  The layout's prefix of final tensors is the frontier.
// One thread, the model's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/train/layout.h"

namespace muster {

// One micro-batch of one step.
struct MicroBatch {
  std::uint64_t step = 0;
  std::uint32_t index = 0;  // Among the step's.
};

class Backward {
 public:
  explicit Backward(const Layout& layout);

  // ---- What a model calls -----------------------------------------------------------------------

  // The loss is known, the backward pass begins.  Without it the first Final says so.
  void Begin();
  // `tensor`: its number in Model::Tensors().
  void Final(std::size_t tensor);
  // Every tensor that was not told yet: for models that know only at the end.
  void AllFinal();
  // What the loss is multiplied with before it is differentiated (a power of two, 1 without loss
  // scaling): the gradients are those of loss * loss_scale().
  float loss_scale() const { return loss_scale_; }

  // ---- What the loop calls ----------------------------------------------------------------------

  struct Listener {
    std::function<void()> began;
    std::function<void(std::size_t elements)> reached;  // The frontier, whenever it moves.
  };
  void Open(const MicroBatch& at, float loss_scale, Listener listener);
  // After Model::Gradient.  kInvalid names the tensor that was never told, or told twice, or told
  // after an earlier micro-batch's Gradient had returned.
  Status Close();

 private:
  void Fail(std::size_t tensor, const std::string& what);

  const Layout& layout_;
  MicroBatch at_;
  float loss_scale_ = 1;
  Listener listener_;
  std::vector<bool> final_;
  std::size_t left_ = 0;  // Tensors behind the frontier: they lie in reverse order.
  bool open_ = false;
  bool began_ = false;
  Status failed_;
};

}  // namespace muster
