#include "runtime/train/gpu_loop_cuda.h"

#include "runtime/base/check.h"

namespace muster {

GpuLoop::GpuLoop(const TrainOptions& options, const Parts& parts, Layout layout, Topology topology)
    : options_(options),
      parts_(parts),
      layout_(std::move(layout)),
      topology_(std::move(topology)),
      pieces_(layout_.Pieces({.begin = 0, .end = layout_.elements()})) {}

Result<std::unique_ptr<GpuLoop>> GpuLoop::Make(const TrainOptions& options, const Parts& parts) {
  RETURN_IF_ERROR(Check(options));
  if (options.zero1) {
    return Status(Code::kUnimplemented,
                  "ZeRO-1 is for ranks on hosts; on GPUs every rank keeps the whole state: leave "
                  "it out");
  }
  const int ranks = parts.group == nullptr ? 1 : parts.group->world_size();
  std::vector<Place> places;
  for (int r = 0; r < ranks; ++r) places.push_back({.node = r});
  auto topology = Topology::Make(places, parts.group == nullptr ? 0 : parts.group->rank(),
                                 options.micro_batches * options.accumulate, options.deterministic);
  if (!topology.ok()) return std::move(topology).status();
  std::unique_ptr<GpuLoop> loop(
      new GpuLoop(options, parts, Layout(parts.model.Tensors()), *std::move(topology)));
  RETURN_IF_ERROR(loop->Open());
  return loop;
}

Status GpuLoop::Open() {
  const bool bf16 = options_.precision == Precision::kBF16;
  static constexpr const char* kNames[] = {"parameters", "exp_avg", "exp_avg_sq"};
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    auto array = parts_.device.AllocateArray<float>(layout_.elements(), kNames[i]);
    if (!array.ok()) return std::move(array).status();
    arrays_[i] = *array;
  }
  if (bf16) {
    auto working = parts_.device.AllocateArray<std::uint16_t>(layout_.elements(), "bf16 weights");
    if (!working.ok()) return std::move(working).status();
    working_ = *working;
  }
  auto gradients = GpuGradients::Make({.device = parts_.device,
                                       .model = parts_.model,
                                       .layout = layout_,
                                       .topology = topology_,
                                       .group = parts_.group,
                                       .clock = parts_.clock,
                                       .bf16 = bf16},
                                      parts_.group_elements);
  if (!gradients.ok()) return std::move(gradients).status();
  gradients_ = *std::move(gradients);
  return {};
}

Status GpuLoop::Begin(const GpuProgress& progress) {
  progress_ = progress;
  if (working_ == nullptr) return {};
  void* to = working_;
  const std::size_t count = layout_.elements();
  return parts_.device.Check(
      "rounding weights",
      parts_.device.kernels().unpack(arrays_[0], &to, &count, 1, 1, parts_.device.compute()));
}

Result<GpuLoop::End> GpuLoop::Step(const Said& said) {
  GpuGradients::Step step{
      .step = progress_.step,
      .weights = working_ != nullptr ? static_cast<const void*>(working_) : arrays_[0],
      .loss_scale = static_cast<float>(progress_.scale.scale)};
  step.tail[Layout::kTailStop] = said.stop ? 1.0F : 0.0F;
  step.tail[Layout::kTailStaged] = said.staged;
  auto sums = gradients_->Run(step);
  if (!sums.ok()) return std::move(sums).status();
  auto verdict = Judge(options_, topology_.micro_batches(), progress_, *sums);
  if (!verdict.ok()) return std::move(verdict).status();
  if (verdict->update) RETURN_IF_ERROR(Update(*verdict));
  progress_ = verdict->next;
  return End{.verdict = *std::move(verdict), .staged = sums->tail[Layout::kTailStaged]};
}

Status GpuLoop::Update(const GpuVerdict& verdict) {
  GpuDevice& device = parts_.device;
  if (hold_) RETURN_IF_ERROR(device.Follow(device.compute(), *hold_));
  hold_.reset();
  const AdamWUpdate u = MakeUpdate(options_.optimizer, progress_.step, options_.steps,
                                   verdict.gradient_scale, progress_.step - progress_.skipped);
  muster_gpu_adamw_update update{
      u.gradient_scale,   u.beta1,   u.one_minus_beta1, u.beta2, u.one_minus_beta2, u.step_size,
      u.sqrt_correction2, u.epsilon, u.decay_factor,    0};
  for (const Layout::Piece& piece : pieces_) {
    const std::size_t at = piece.range.begin;
    update.decay = piece.decay ? 1 : 0;
    RETURN_IF_ERROR(
        device.Check("AdamW", device.kernels().adamw(&update, arrays_[0] + at, arrays_[1] + at,
                                                     arrays_[2] + at, gradients_->result() + at,
                                                     working_ == nullptr ? nullptr : working_ + at,
                                                     piece.range.size(), device.compute())));
  }
  return {};
}

}  // namespace muster
