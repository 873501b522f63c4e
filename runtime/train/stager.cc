#include "runtime/train/stager.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/comm/process_group.h"

namespace muster {

Result<CheckpointStager> CheckpointStager::Open(CheckpointShard shard, const Topology& topology,
                                                Memory& memory, CheckpointSink* sink) {
  CheckpointStager stager;
  stager.shard_ = std::move(shard);
  const std::size_t bytes = stager.shard_.bytes();
  stager.local_rank_ = topology.local_rank();
  stager.local_size_ = topology.local_size();
  stager.sink_ = sink;
  for (std::size_t i = 0; i < kStages; ++i) {
    Stage& stage = stager.stages_[i];
    // Another shape of the attempt means another size, so another name.
    stage.name = "stage" + std::to_string(i) + "." + std::to_string(bytes);
    auto region = memory.Get(stage.name, std::max<std::size_t>(bytes, 1));
    if (!region.ok()) return std::move(region).status().While("staging memory");
    stage.region = *region;
    stage.in_use = sink != nullptr && region->busy;
  }
  return stager;
}

Status CheckpointStager::Save(std::uint64_t step, const StateView& state,
                              const std::string& host_state, Barrier& barrier) {
  Stage& stage = stages_[saves_++ % kStages];
  if (sink_ != nullptr) RETURN_IF_ERROR(AwaitFree(stage));
  RETURN_IF_ERROR(barrier.Wait());
  CopyMyPart(stage, state);
  RETURN_IF_ERROR(barrier.Wait());
  if (sink_ == nullptr) return {};
  StagedShard shard{.step = step,
                    .memory = stage.name,
                    .bytes = stage.region.bytes.first(shard_.bytes()),
                    .tensors = shard_.boxes,
                    .host_state = host_state};
  stage.in_use = true;
  stage.step = step;
  return sink_->Save(shard);
}

void CheckpointStager::CopyMyPart(const Stage& stage, const StateView& state) const {
  const std::size_t bytes = shard_.bytes();
  const std::size_t begin = bytes * local_rank_ / local_size_;
  const std::size_t end = bytes * (local_rank_ + 1) / local_size_;
  std::size_t at = 0;
  for (const CheckpointShard::Run& run : shard_.runs) {
    const std::size_t size = run.elements * sizeof(float);
    const std::size_t from = std::max(at, begin);
    const std::size_t to = std::min(at + size, end);
    if (from < to) {
      const float* source = state.arrays()[run.array].at(run.offset);
      std::memcpy(stage.region.bytes.data() + from,
                  reinterpret_cast<const std::byte*>(source) + (from - at), to - from);
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
