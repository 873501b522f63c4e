// Copies the state of a node's shard into one of two staging memories at a step boundary, and hands
// it to the sink.  Training goes on as soon as the copy is made.  A save that finds both memories
// in use waits for one, or is skipped: the leader decides, and its node's ranks find what it
// decided behind the first memory.  No save takes more memory than these two, and none waits for
// ever.
//
// Every rank of a node has one and calls Save together; only the leader's has a sink.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/comm/barrier.h"
#include "runtime/train/arena.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/memory.h"
#include "runtime/train/topology.h"

namespace muster {

// How long a save waits for a memory before it is skipped.
inline constexpr Duration kBusyPatience = std::chrono::seconds(60);

class CheckpointStager {
 public:
  // Gets the staging memories for this node's shard.  `sink` is null but for the leader.
  static Result<CheckpointStager> Open(CheckpointShard shard, const Topology& topology,
                                       Memory& memory, CheckpointSink* sink);

  // Collective within the node; at a step boundary.  False, on every rank of it: skipped after
  // `patience`.  What became of it comes from Poll in either case.
  Result<bool> Save(std::uint64_t step, const StateView& state, const std::string& host_state,
                    Barrier& barrier, Duration patience = kBusyPatience);

  // What became of earlier saves; empty but for the leader.  Waits only if told to.
  Result<std::vector<link::Saved>> Poll(Duration timeout);
  bool InFlight() const;

 private:
  static constexpr std::size_t kStages = 2;
  struct Stage {
    std::string name;
    Memory::Region region;
    bool in_use = false;
    std::optional<std::uint64_t> step;  // Unknown when a former attempt's save uses it.
  };

  // The index of one that is free, or kStages.
  Result<std::size_t> AwaitFree(Duration patience);
  std::uint64_t& Choice() const;
  void CopyMyPart(const Stage& stage, const StateView& state) const;

  CheckpointShard shard_;
  std::uint32_t local_rank_ = 0;
  std::uint32_t local_size_ = 1;
  CheckpointSink* sink_ = nullptr;
  std::array<Stage, kStages> stages_;
  std::set<std::uint64_t> unended_;  // Steps that were staged, until their saves end.
  std::vector<link::Saved> unread_;  // Learned while waiting for a free stage.
};

}  // namespace muster
