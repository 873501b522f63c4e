#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"
#include "runtime/train/gpu_trainer_cuda.h"
#include "runtime/train/read_once.h"

namespace muster {
namespace {

constexpr std::size_t kBounceBytes = std::size_t{32} << 20U;

// What rank 0 tells the others before the tensors.
struct Beginning {
  GpuProgress progress;
  std::int32_t code = 0;  // Of its Status.
};
static_assert(std::is_trivially_copyable_v<Beginning>);

}  // namespace

Result<std::unique_ptr<GpuTrainer>> GpuTrainer::Start(const TrainOptions& options,
                                                      const Parts& parts) {
  std::unique_ptr<GpuTrainer> trainer(new GpuTrainer(options, parts));
  RETURN_IF_ERROR(trainer->GatherPlaces());
  const Status opened = trainer->Open();
  // A rank that cannot, ends all.
  std::int32_t failed = opened.ok() ? 0 : 1;
  if (parts.group != nullptr) {
    std::vector<std::int32_t> all(static_cast<std::size_t>(trainer->ranks()));
    RETURN_IF_ERROR(parts.group->all_gather(std::span(&failed, 1), all));
    RETURN_IF_ERROR(opened);
    const auto other = std::find(all.begin(), all.end(), 1);
    if (other != all.end()) {
      return Status(Code::kAborted,
                    "rank " + std::to_string(other - all.begin()) + " could not start");
    }
  }
  RETURN_IF_ERROR(opened);
  RETURN_IF_ERROR(trainer->Restore());
  return trainer;
}

// They say how many ranks share a node, and how many nodes a checkpoint.
Status GpuTrainer::GatherPlaces() {
  places_ = {parts_.place};
  if (parts_.group == nullptr) return {};
  places_.resize(static_cast<std::size_t>(ranks()));
  return parts_.group->all_gather(std::as_bytes(std::span(&parts_.place, 1)),
                                  std::as_writable_bytes(std::span(places_)));
}

Status GpuTrainer::Open() {
  auto loop = GpuLoop::Make(options_, {.device = parts_.device,
                                       .model = parts_.model,
                                       .group = parts_.group,
                                       .clock = parts_.clock,
                                       .group_elements = parts_.group_elements});
  if (!loop.ok()) return std::move(loop).status();
  loop_ = *std::move(loop);
  facts_ = FactsOf(options_, layout().elements());
  auto bounce = parts_.device.AllocatePinned(kBounceBytes, "copies");
  if (!bounce.ok()) return std::move(bounce).status();
  bounce_ = *bounce;
  return options_.checkpoints ? OpenStages() : Status();
}

Status GpuTrainer::OpenStages() {
  auto topology = Topology::Make(places_, rank(), micro_batches());
  if (!topology.ok()) return std::move(topology).status();
  CHECK(!leader() || parts_.sink != nullptr);
  local_size_ = topology->local_size();
  const bool alone = options_.first_node_saves;
  if (alone && topology->node() != 0) return {};
  shard_ = EvenShard(layout(), alone ? 0 : topology->node(), alone ? 1 : topology->nodes());
  auto staging = GpuStaging::Make(parts_.device);
  if (!staging.ok()) return std::move(staging).status();
  staging_ = *std::move(staging);
  const std::size_t bytes = std::max<std::size_t>(shard_->bytes(), 1);
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    Stage& stage = stages_[i];
    stage.name = "stage" + std::to_string(i) + "." + std::to_string(shard_->bytes());
    auto region = parts_.memory.Get(stage.name, bytes);
    if (!region.ok()) return std::move(region).status().While("staging memory");
    stage.region = *region;
    stage.in_use = leader() && region->busy;
    RETURN_IF_ERROR(parts_.device.Pin(stage.region.bytes, "staging memory"));
  }
  return {};
}

Status GpuTrainer::Restore() {
  std::vector<std::vector<float>> arrays(3);
  Beginning beginning;
  std::string how;
  Status status;
  if (rank() == 0) {
    parts_.host.Report({.phase = link::Phase::kRestoring}, 0);
    auto progress = LoadOrStart(arrays, &how);
    status = progress.status();
    if (status.ok()) beginning.progress = *progress;
    if (status.ok()) status = Upload(arrays);
    beginning.code = static_cast<std::int32_t>(status.code());
  }
  if (parts_.group != nullptr) {
    const auto bytes = std::as_writable_bytes(std::span(&beginning, 1));
    RETURN_IF_ERROR(parts_.group->broadcast(bytes, 0));
    RETURN_IF_ERROR(status);
    if (beginning.code != 0) return Status(Code::kAborted, "rank 0 could not start");
    for (float* array : loop_->arrays()) {
      RETURN_IF_ERROR(parts_.group->broadcast(Buffer(array, layout().elements(), DType::kF32), 0));
    }
  }
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(loop_->Begin(beginning.progress));
  first_step_ = step();
  if (rank() == 0) parts_.host.Say(how);
  Report(link::Phase::kTraining, progress().loss_ema, rank() == 0 ? how : "");
  return {};
}

Result<GpuProgress> GpuTrainer::LoadOrStart(std::vector<std::vector<float>>& arrays,
                                            std::string* how) {
  for (auto& array : arrays) array.resize(layout().elements());
  std::optional<checkpoint::Manifest> manifest;
  if (options_.checkpoints) {
    auto opened = parts_.sink->OpenNewest();
    if (!opened.ok()) return std::move(opened).status().While("loading a checkpoint");
    manifest = *std::move(opened);
  }
  GpuProgress progress{.scale = muster::Begin(options_.loss_scaling)};
  if (!manifest) {
    parts_.model.Initialize(options_.seed, layout(), arrays[0].data());
    *how = "started from seed " + std::to_string(options_.seed);
    return progress;
  }
  auto host = DecodeHostState(std::string(manifest->Member(checkpoint::kMemberHostState)));
  if (!host.ok()) return std::move(host).status();
  RETURN_IF_ERROR(CheckSameRun(host->facts, facts_));
  std::vector<ArrayPart> parts;
  for (auto& array : arrays) {
    parts.push_back({.values = array.data(), .range = {.begin = 0, .end = array.size()}});
  }
  RETURN_IF_ERROR(CheckSameModel(*manifest, layout()));
  RestoreTargets targets = TargetsOf(layout(), parts);
  RETURN_IF_ERROR(ReadAlone(*parts_.sink, *manifest, std::move(targets.boxes), targets.into)
                      .While("loading a checkpoint"));
  progress.step = host->step;
  progress.loss_ema = host->loss_ema;
  progress.skipped = host->skipped;
  if (options_.loss_scaling.dynamic) {
    progress.scale = {.scale = host->loss_scale, .good_steps = host->good_steps};
  }
  *how = "restored step " + std::to_string(host->step) + " from a commit";
  return progress;
}

Status GpuTrainer::Drain() {
  auto mark = parts_.device.NewMark();
  if (!mark.ok()) return std::move(mark).status();
  RETURN_IF_ERROR(parts_.device.Mark(*mark, parts_.device.compute()));
  const TimePoint deadline = parts_.clock.Now() + kPeerTimeout;
  for (;;) {
    const auto reached = parts_.device.Reached(*mark);
    if (!reached.ok()) return reached.status();
    if (*reached) return {};
    if (parts_.clock.Now() >= deadline) return Status(Code::kDeadline, "the GPU does not answer");
    PauseShort();
  }
}

Status GpuTrainer::Upload(const std::vector<std::vector<float>>& arrays) {
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto* from = reinterpret_cast<const std::byte*>(arrays[i].data());
    const std::size_t bytes = arrays[i].size() * sizeof(float);
    for (std::size_t at = 0; at < bytes; at += kBounceBytes) {
      const std::size_t size = std::min(kBounceBytes, bytes - at);
      std::memcpy(bounce_, from + at, size);
      RETURN_IF_ERROR(parts_.device.Copy(reinterpret_cast<std::byte*>(loop_->arrays()[i]) + at,
                                         bounce_, size, parts_.device.compute()));
      RETURN_IF_ERROR(Drain());
    }
  }
  return {};
}

Result<std::vector<float>> GpuTrainer::Parameters() {
  std::vector<float> values(layout().elements());
  const std::size_t bytes = values.size() * sizeof(float);
  for (std::size_t at = 0; at < bytes; at += kBounceBytes) {
    const std::size_t size = std::min(kBounceBytes, bytes - at);
    const auto* from = reinterpret_cast<const std::byte*>(loop_->arrays()[0]) + at;
    RETURN_IF_ERROR(parts_.device.Copy(bounce_, from, size, parts_.device.compute()));
    RETURN_IF_ERROR(Drain());
    std::memcpy(reinterpret_cast<std::byte*>(values.data()) + at, bounce_, size);
  }
  return values;
}

}  // namespace muster
