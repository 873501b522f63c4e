#include "runtime/train/stager.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/stream_copy.h"
#include "runtime/comm/process_group.h"

namespace muster {
namespace {

constexpr std::size_t kLine = 64;

std::size_t ChoiceAt(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

}  // namespace

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
    auto region = memory.Get(stage.name, ChoiceAt(bytes) + kLine);
    if (!region.ok()) return std::move(region).status().While("staging memory");
    stage.region = *region;
    stage.in_use = sink != nullptr && region->busy;
    const std::size_t begin = bytes * stager.local_rank_ / stager.local_size_;
    const std::size_t end = bytes * (stager.local_rank_ + 1) / stager.local_size_;
    Status taken = memory.Prefault(stage.region.bytes.subspan(begin, end - begin));
    if (!taken.ok()) return std::move(taken).While("staging memory");
  }
  return stager;
}

std::uint64_t& CheckpointStager::Choice() const {
  return *reinterpret_cast<std::uint64_t*>(stages_[0].region.bytes.data() +
                                           ChoiceAt(shard_.bytes()));
}

Result<bool> CheckpointStager::Save(std::uint64_t step, const StateView& state,
                                    const std::string& host_state, Barrier& barrier,
                                    Duration patience) {
  if (sink_ != nullptr) {
    const auto free = AwaitFree(patience);
    if (!free.ok()) return free.status();
    Choice() = *free;
  }
  RETURN_IF_ERROR(barrier.Wait());
  const std::uint64_t chosen = Choice();
  if (chosen < kStages) CopyMyPart(stages_[chosen], state);
  RETURN_IF_ERROR(barrier.Wait());
  if (sink_ == nullptr) return chosen < kStages;
  if (chosen >= kStages) {
    RETURN_IF_ERROR(sink_->Skip(step));
    return false;
  }
  Stage& stage = stages_[chosen];
  StagedShard shard{.step = step,
                    .memory = stage.name,
                    .bytes = stage.region.bytes.first(shard_.bytes()),
                    .tensors = shard_.boxes,
                    .host_state = host_state};
  stage.in_use = true;
  stage.step = step;
  unended_.insert(step);
  RETURN_IF_ERROR(sink_->Save(shard));
  return true;
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
      StreamCopy(stage.region.bytes.data() + from,
                 reinterpret_cast<const std::byte*>(source) + (from - at), to - from);
    }
    at += size;
  }
}

Result<std::size_t> CheckpointStager::AwaitFree(Duration patience) {
  constexpr Duration kLook = std::chrono::milliseconds(500);
  for (Duration waited{};; waited += kLook) {
    const auto free = std::find_if(stages_.begin(), stages_.end(),
                                   [](const Stage& stage) { return !stage.in_use; });
    if (free != stages_.end()) return static_cast<std::size_t>(free - stages_.begin());
    if (waited > patience) return kStages;
    auto saved = Poll(std::min(kLook, patience));
    if (!saved.ok()) return std::move(saved).status();
    unread_ = *std::move(saved);
  }
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
    if (one.local) continue;
    unended_.erase(one.step);
    all.push_back(std::move(one));
  }
  return all;
}

bool CheckpointStager::InFlight() const {
  return !unended_.empty() ||
         std::any_of(stages_.begin(), stages_.end(), [](const Stage& s) { return s.in_use; });
}

}  // namespace muster
