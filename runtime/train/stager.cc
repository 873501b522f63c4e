#include "runtime/train/stager.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"

namespace muster {

Result<CheckpointStager> CheckpointStager::Open(const Layout& layout, const Topology& topology,
                                                Memory& memory, CheckpointSink* sink) {
  CheckpointStager stager;
  stager.shard_ = ShardOf(layout, topology.node(), topology.nodes());
  for (const CheckpointTensor& tensor : stager.shard_) {
    stager.bytes_ += tensor.elements * sizeof(float);
  }
  stager.local_rank_ = topology.local_rank();
  stager.local_size_ = topology.local_size();
  stager.sink_ = sink;
  for (std::size_t i = 0; i < kStages; ++i) {
    Stage& stage = stager.stages_[i];
    stage.name = "stage" + std::to_string(i);
    auto region = memory.Get(stage.name, std::max<std::size_t>(stager.bytes_, 1));
    if (!region.ok()) return std::move(region).status().While("staging memory");
    stage.region = *region;
    stage.in_use = sink != nullptr && region->busy;
  }
  return stager;
}

Status CheckpointStager::Save(std::uint64_t step, const StateView& state,
                              const std::string& host_state, NodeBarrier& barrier) {
  Stage& stage = stages_[saves_++ % kStages];
  if (sink_ != nullptr) RETURN_IF_ERROR(AwaitFree(stage));
  RETURN_IF_ERROR(barrier.Wait());
  CopyMyPart(stage, state);
  RETURN_IF_ERROR(barrier.Wait());
  if (sink_ == nullptr) return {};
  StagedShard shard{.step = step,
                    .memory = stage.name,
                    .bytes = stage.region.bytes.first(bytes_),
                    .host_state = host_state};
  for (const CheckpointTensor& tensor : shard_) shard.tensors.push_back(tensor.tensor);
  stage.in_use = true;
  stage.step = step;
  return sink_->Save(shard);
}

void CheckpointStager::CopyMyPart(const Stage& stage, const StateView& state) const {
  const std::size_t begin = bytes_ * local_rank_ / local_size_;
  const std::size_t end = bytes_ * (local_rank_ + 1) / local_size_;
  std::size_t at = 0;
  for (const CheckpointTensor& tensor : shard_) {
    const std::size_t size = tensor.elements * sizeof(float);
    const std::size_t from = std::max(at, begin);
    const std::size_t to = std::min(at + size, end);
    if (from < to) {
      const auto* source =
          reinterpret_cast<const std::byte*>(state.array(tensor.array) + tensor.offset);
      std::memcpy(stage.region.bytes.data() + from, source + (from - at), to - from);
    }
    at += size;
  }
}

Status CheckpointStager::AwaitFree(Stage& stage) {
  constexpr auto kLook = std::chrono::milliseconds(500);
  for (Duration waited{}; stage.in_use; waited += kLook) {
    if (waited > kPeerTimeout) {
      return Status(Code::kDeadline, "the save that uses " + stage.name + " does not end");
    }
    auto saved = Poll(kLook);
    if (!saved.ok()) return std::move(saved).status();
    unread_ = *std::move(saved);
  }
  return {};
}

Result<std::vector<link::Saved>> CheckpointStager::Poll(Duration timeout) {
  std::vector<link::Saved> all = std::exchange(unread_, {});
  if (sink_ == nullptr) return all;
  auto saved = sink_->Poll(timeout);
  if (!saved.ok()) return std::move(saved).status().While("waiting for a save");
  for (link::Saved& one : *saved) {
    // The stage of that step, or else the one that a former attempt left in use.
    auto stage = std::find_if(stages_.begin(), stages_.end(),
                              [&](const Stage& s) { return s.in_use && s.step == one.step; });
    if (stage == stages_.end()) {
      stage = std::find_if(stages_.begin(), stages_.end(),
                           [](const Stage& s) { return s.in_use && !s.step; });
    }
    if (stage != stages_.end()) stage->in_use = false;
    all.push_back(std::move(one));
  }
  return all;
}

bool CheckpointStager::InFlight() const {
  return std::any_of(stages_.begin(), stages_.end(), [](const Stage& s) { return s.in_use; });
}

}  // namespace muster
