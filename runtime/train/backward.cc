#include "runtime/train/backward.h"

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"

namespace muster {
namespace {

std::string Where(const MicroBatch& at) {
  return "step " + std::to_string(at.step) + ", micro-batch " + std::to_string(at.index);
}

}  // namespace

Backward::Backward(const Layout& layout) : layout_(layout) {}

void Backward::Open(const MicroBatch& at, float loss_scale, Listener listener) {
  CHECK(!open_);
  at_ = at;
  loss_scale_ = loss_scale;
  listener_ = std::move(listener);
  final_.assign(layout_.tensors().size(), false);
  left_ = layout_.tensors().size();
  open_ = true;
  began_ = false;
}

void Backward::Begin() {
  if (std::exchange(began_, true) || !open_) return;
  if (listener_.began) listener_.began();
}

void Backward::Final(std::size_t tensor) {
  if (tensor >= layout_.tensors().size()) {
    return Fail(tensor, "does not exist, the model has " +
                            std::to_string(layout_.tensors().size()) + " tensors");
  }
  if (!open_) return Fail(tensor, "was told too late, after Model::Gradient had returned");
  if (final_[tensor]) return Fail(tensor, "was told twice");
  Begin();
  final_[tensor] = true;
  const std::size_t before = left_;
  while (left_ > 0 && final_[left_ - 1]) --left_;
  if (left_ == before || !listener_.reached) return;
  listener_.reached(left_ == 0 ? layout_.elements() : layout_.offset(left_ - 1));
}

void Backward::AllFinal() {
  for (std::size_t tensor = final_.size(); tensor-- > 0;) {
    if (!final_[tensor]) Final(tensor);
  }
}

Status Backward::Close() {
  open_ = false;
  listener_ = {};
  RETURN_IF_ERROR(failed_);
  if (left_ == 0) return {};
  const auto missing = std::find(final_.rbegin(), final_.rend(), false);
  const auto tensor = static_cast<std::size_t>(final_.rend() - missing) - 1;
  const auto others = std::count(final_.begin(), final_.end(), false) - 1;
  Fail(tensor, (others > 0 ? "and " + std::to_string(others) + " more were" : "was") +
                   std::string(" never told to be final: call Backward::Final for each tensor, or "
                               "AllFinal at the end"));
  return failed_;
}

void Backward::Fail(std::size_t tensor, const std::string& what) {
  if (!failed_.ok()) return;
  const std::string name = tensor < layout_.tensors().size() ? layout_.tensors()[tensor].name
                                                             : "number " + std::to_string(tensor);
  failed_ = Status(Code::kInvalid, Where(at_) + ": the gradient of " + name + " " + what);
}

}  // namespace muster
