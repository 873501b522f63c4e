#include "runtime/train/gpu_gradients_cuda.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

constexpr std::size_t kTailBytes = Layout::kTail * sizeof(float);

}  // namespace

GpuGradients::GpuGradients(const Parts& parts, GpuSumPlan sums)
    : parts_(parts), sums_(std::move(sums)), plan_(parts.topology.PlanOf(0)), told_(parts.layout) {
  for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
    if (plan_.steps[i].compute) last_compute_ = i;
  }
}

Result<std::unique_ptr<GpuGradients>> GpuGradients::Make(const Parts& parts,
                                                         std::size_t group_elements) {
  CHECK(parts.group != nullptr || parts.topology.nodes() == 1);
  auto sums = GpuSumPlan::Make(parts.layout, parts.topology, MUSTER_GPU_SOURCES, MUSTER_GPU_PROGRAM,
                               group_elements);
  if (!sums.ok()) return std::move(sums).status();
  std::unique_ptr<GpuGradients> made(new GpuGradients(parts, *std::move(sums)));
  RETURN_IF_ERROR(made->Open());
  return made;
}

Status GpuGradients::Open() {
  GpuDevice& device = parts_.device;
  const std::size_t buckets = parts_.layout.buckets();
  for (std::uint32_t i = 0; i < plan_.slots_used; ++i) {
    auto slot = device.AllocateArray<float>(sums_.capacity(), "gradients");
    if (!slot.ok()) return std::move(slot).status();
    slots_.push_back(*slot);
  }
  const auto take = [](const auto& memory, auto** into) -> Status {
    if (memory.ok()) *into = reinterpret_cast<std::remove_reference_t<decltype(*into)>>(*memory);
    return memory.status();
  };
  if (parts_.bf16) {
    RETURN_IF_ERROR(take(
        device.AllocateArray<std::uint16_t>(parts_.layout.elements(), "a micro-batch's gradient"),
        &narrow_));
  }
  if (sums_.ranks() > 1) {
    RETURN_IF_ERROR(take(device.AllocateArray<float>(sums_.rounds() * sums_.groups()[0].size(),
                                                     "slices of other ranks"),
                         &matrix_));
  }
  RETURN_IF_ERROR(take(device.AllocateArray<double>(buckets, "sums"), &squares_));
  RETURN_IF_ERROR(take(device.AllocatePinned(buckets * sizeof(double), "sums"), &host_squares_));
  RETURN_IF_ERROR(take(device.AllocatePinned(kTailBytes, "sums"), &host_tail_));
  RETURN_IF_ERROR(take(device.AllocatePinned(2 * kTailBytes, "sums"), &words_));
  RETURN_IF_ERROR(
      take(device.AllocatePinned(parts_.layout.bucket_elements() * sizeof(float), "sums"),
           &host_bucket_));
  return take(device.NewMark(), &concluded_);
}

Result<GpuSums> GpuGradients::Run(const Step& step) {
  place_ = 0;
  finished_ = departed_ = 0;
  works_.clear();
  failed_ = {};
  std::copy(step.tail.begin(), step.tail.end(), words_);
  const Range whole = {.begin = 0, .end = sums_.capacity()};
  Status status;
  for (std::size_t i = 0; i <= last_compute_ && status.ok(); ++i) {
    const AccumulatePlan::Step& todo = plan_.steps[i];
    status = todo.compute ? Compute(step, todo, i == last_compute_) : Add(todo, whole);
  }
  if (status.ok()) status = Finish(whole.end);
  if (status.ok() && parts_.group == nullptr) {
    status = Conclude(parts_.device.compute());
    if (status.ok()) status = parts_.device.Mark(concluded_, parts_.device.compute());
  }
  // The others would wait for this rank.
  if (!status.ok() && parts_.group != nullptr) parts_.group->abort(status);
  const TimePoint before = parts_.clock.Now();
  const Status ended = Await();
  waited_ += parts_.clock.Now() - before;
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(ended);
  GpuSums sums{.squares = {host_squares_, parts_.layout.buckets()},
               .tail = {host_tail_, Layout::kTail}};
  auto broken = NameBroken();
  if (!broken.ok()) return std::move(broken).status();
  sums.broken = *std::move(broken);
  return sums;
}

Status GpuGradients::Compute(const Step& step, const AccumulatePlan::Step& todo, bool last) {
  float* const into = slot(todo.slot);
  float* const tail = into + parts_.layout.tail();
  GpuDevice& device = parts_.device;
  RETURN_IF_ERROR(device.Copy(tail, place_ == 0 ? words_ : words_ + Layout::kTail, kTailBytes,
                              device.compute()));
  Backward::Listener listener;
  if (last) {
    listener.reached = [this](std::size_t elements) {
      const std::size_t groups = sums_.GroupsWithin(elements);
      if (failed_.ok() && groups > 0) failed_ = Finish(sums_.groups()[groups - 1].end);
    };
  }
  const MicroBatch at{.step = step.step, .index = todo.micro_batch};
  told_.Open(at, step.loss_scale, std::move(listener));
  const Status computed =
      parts_.model.Gradient({.at = at,
                             .place = place_++,
                             .weights = step.weights,
                             .gradient = parts_.bf16 ? static_cast<void*>(narrow_) : into,
                             .loss = tail + Layout::kTailLoss},
                            parts_.layout, told_);
  const Status told = told_.Close();
  RETURN_IF_ERROR(computed);
  RETURN_IF_ERROR(told);
  RETURN_IF_ERROR(failed_);
  if (last) return {};
  return Widen(todo.slot, {.begin = 0, .end = parts_.layout.elements()});
}

// bf16 to f32, which is how a gradient that was rounded to bf16 is summed.
Status GpuGradients::Widen(std::uint32_t into, Range range) {
  range.end = std::min(range.end, parts_.layout.elements());
  if (!parts_.bf16 || range.begin >= range.end) return {};
  const void* from = narrow_ + range.begin;
  const std::size_t count = range.size();
  return parts_.device.Check(
      "widening gradients",
      parts_.device.kernels().pack(&from, &count, 1, 1, slot(into) + range.begin,
                                   parts_.device.compute()));
}

Status GpuGradients::Add(const AccumulatePlan::Step& todo, Range range) {
  float* const into = slot(todo.slot) + range.begin;
  return parts_.device.Check("summing gradients",
                             parts_.device.kernels().add(into, into, slot(todo.from) + range.begin,
                                                         range.size(), parts_.device.compute()));
}

// What is final up to `end`, the end of a group.
Status GpuGradients::Finish(std::size_t end) {
  const Range range = {.begin = finished_, .end = end};
  if (range.begin >= range.end) return {};
  RETURN_IF_ERROR(Widen(plan_.steps[last_compute_].slot, range));
  for (std::size_t i = last_compute_ + 1; i < plan_.steps.size(); ++i) {
    RETURN_IF_ERROR(Add(plan_.steps[i], range));
  }
  finished_ = end;
  for (; departed_ < sums_.GroupsWithin(end); ++departed_) RETURN_IF_ERROR(Depart(departed_));
  return {};
}

Status GpuGradients::Depart(std::size_t group) {
  if (parts_.group == nullptr) return {};
  const Range range = sums_.groups()[group];
  const auto floats = [](float* at, std::size_t n) { return Buffer(at, n, DType::kF32); };
  for (std::size_t round = 0; round < sums_.rounds() && sums_.ranks() > 1; ++round) {
    // A rank with fewer subtrees hands in something that nobody reads.
    const std::size_t own = std::min(round, plan_.slots.size() - 1);
    const bool last = round + 1 == sums_.rounds();
    Then then;
    if (last) then = [this, group](void* stream) { return Combine(group, stream); };
    works_.push_back(
        parts_.group->start({.kind = Collective::Kind::kAllToAll,
                             .in = floats(slot(plan_.slots[own]) + range.begin, range.size()),
                             .out = floats(matrix_ + round * range.size(), range.size())},
                            std::move(then)));
  }
  const Range mine = sums_.Slice(group, rank());
  float* const result = slot(plan_.slots[0]);
  Then then;
  if (group + 1 == sums_.groups().size()) {
    then = [this](void* stream) { return Conclude(stream); };
  }
  works_.push_back(
      parts_.group->start(Collective::AllGather(floats(result + mine.begin, mine.size()),
                                                floats(result + range.begin, range.size())),
                          std::move(then)));
  return {};
}

// On the group's thread.
Status GpuGradients::Combine(std::size_t group, CudaStream stream) {
  const std::size_t size = sums_.groups()[group].size();
  const Range mine = sums_.Slice(group, rank());
  std::vector<const float*> sources;
  for (const GpuSumPlan::Source& source : sums_.sources()) {
    sources.push_back(matrix_ + source.round * size + source.rank * mine.size());
  }
  return parts_.device.Check(
      "combining gradients",
      parts_.device.kernels().combine(sources.data(), sources.size(), sums_.program().data(),
                                      sums_.program().size(), slot(plan_.slots[0]) + mine.begin,
                                      mine.size(), stream));
}

// On the group's thread, or with one rank on this one.
Status GpuGradients::Conclude(CudaStream stream) {
  const GpuDevice& device = parts_.device;
  RETURN_IF_ERROR(device.Check(
      "the gradient's norm",
      device.kernels().sum_of_squares(result(), parts_.layout.elements(),
                                      parts_.layout.bucket_elements(), squares_, stream)));
  RETURN_IF_ERROR(
      device.Copy(host_squares_, squares_, parts_.layout.buckets() * sizeof(double), stream));
  return device.Copy(host_tail_, result() + parts_.layout.tail(), kTailBytes, stream);
}

Status GpuGradients::Await() {
  Status status;
  // In their order; what failed, failed the group, so the others end as well.
  for (const auto& work : works_) {
    const Status ended = work->wait();
    if (status.ok()) status = ended;
    if (!ended.ok()) parts_.group->abort(ended);
  }
  if (parts_.group != nullptr) return status;
  const TimePoint deadline = parts_.clock.Now() + kPeerTimeout;
  for (;;) {
    const auto reached = parts_.device.Reached(concluded_);
    if (!reached.ok()) return reached.status();
    if (*reached) return {};
    if (parts_.clock.Now() >= deadline) return Status(Code::kDeadline, "the GPU does not answer");
    PauseShort();
  }
}

// The first tensor with a NaN or Inf in it.  Waits once more, where there is one.
Result<std::string> GpuGradients::NameBroken() {
  const auto buckets = std::span(host_squares_, parts_.layout.buckets());
  const auto broken =
      std::find_if(buckets.begin(), buckets.end(), [](double x) { return !std::isfinite(x); });
  if (broken == buckets.end()) return std::string();
  const Range range = parts_.layout.Bucket(static_cast<std::size_t>(broken - buckets.begin()));
  GpuDevice& device = parts_.device;
  RETURN_IF_ERROR(device.Copy(host_bucket_, result() + range.begin, range.size() * sizeof(float),
                              device.compute()));
  RETURN_IF_ERROR(device.Mark(concluded_, device.compute()));
  for (auto reached = device.Reached(concluded_); !reached.ok() || !*reached;
       reached = device.Reached(concluded_)) {
    if (!reached.ok()) return std::move(reached).status();
    PauseShort();
  }
  std::size_t at = 0;
  while (at + 1 < range.size() && std::isfinite(host_bucket_[at])) ++at;
  return "the gradient of " +
         parts_.layout.tensors()[parts_.layout.TensorAt(range.begin + at)].name;
}

}  // namespace muster
