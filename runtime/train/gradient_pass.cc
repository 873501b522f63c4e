#include "runtime/train/gradient_pass.h"

#include <algorithm>
#include <optional>

#include "runtime/base/check.h"
#include "runtime/train/precision.h"

namespace muster {

GradientPass::GradientPass(const Parts& parts)
    : parts_(parts),
      plan_(parts.topology.PlanOf(parts.topology.local_rank())),
      told_(parts.layout) {
  for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
    if (plan_.steps[i].compute) last_compute_ = i;
  }
}

float* GradientPass::slot(std::uint32_t number) const {
  return parts_.gradients.slot(parts_.topology.local_rank(), number);
}

Status GradientPass::Run(const Step& step,
                         const std::function<void(std::size_t buckets)>& reached) {
  reached_ = &reached;
  finished_ = 0;
  const Range whole = {.begin = 0, .end = parts_.layout.gradient_elements()};
  Step now = step;
  for (std::size_t i = 0; i <= last_compute_; ++i) {
    const AccumulatePlan::Step& todo = plan_.steps[i];
    if (!todo.compute) {
      Add(todo, whole);
      continue;
    }
    RETURN_IF_ERROR(Compute(now, todo, i == last_compute_));
    now.stop = false;
  }
  Finish(whole.end);
  reached(parts_.layout.buckets());
  return {};
}

Status GradientPass::Compute(const Step& step, const AccumulatePlan::Step& todo, bool last) {
  float* const into = slot(todo.slot);
  const TimePoint start = parts_.clock.Now();
  TimePoint turned = start;
  Recorder::Record span = parts_.recorder.Begin({.seq = step.step, .op = RecordedOp::kForward});
  Backward::Listener listener;
  listener.began = [&] {
    turned = parts_.clock.Now();
    parts_.recorder.End(span);
    span = parts_.recorder.Begin({.seq = step.step, .op = RecordedOp::kBackward});
  };
  if (last) {
    listener.reached = [this](std::size_t elements) {
      // The last bucket's tail is not there yet.
      const std::size_t each = parts_.layout.bucket_elements();
      Finish(std::min(elements / each, parts_.layout.buckets() - 1) * each);
      (*reached_)(finished_ / each);
    };
  }
  const MicroBatch at{.step = step.step, .index = todo.micro_batch};
  told_.Open(at, step.loss_scale, std::move(listener));
  const float loss = parts_.model.Gradient(at, parts_.layout, step.parameters, into, told_);
  const Status told = told_.Close();
  parts_.recorder.End(span, told.ok());
  forward_ += turned - start;
  backward_ += parts_.clock.Now() - turned;
  RETURN_IF_ERROR(told);
  if (parts_.round_to_bf16 && !last) RoundToBF16(into, into, parts_.layout.elements());
  float* const tail = into + parts_.layout.tail();
  std::fill_n(tail, Layout::kTail, 0.0F);
  tail[Layout::kTailLoss] = loss;
  tail[Layout::kTailStop] = step.stop ? 1.0F : 0.0F;
  return {};
}

void GradientPass::Finish(std::size_t end) {
  const Range range = {.begin = finished_, .end = end};
  if (range.begin >= range.end) return;
  if (parts_.round_to_bf16) {
    float* const values = slot(plan_.steps[last_compute_].slot) + range.begin;
    RoundToBF16(values, values, std::min(range.end, parts_.layout.elements()) - range.begin);
  }
  for (std::size_t i = last_compute_ + 1; i < plan_.steps.size(); ++i) Add(plan_.steps[i], range);
  finished_ = range.end;
}

void GradientPass::Add(const AccumulatePlan::Step& todo, Range range) {
  float* const into = slot(todo.slot) + range.begin;
  AddKernel(into, into, slot(todo.from) + range.begin, range.size());
}

}  // namespace muster
