// Where the loop hands its checkpoints to, and where it gets one back from.
//
// A node's shard is its even part of the tensors' bytes (checkpoint::ShareOf), or with ZeRO-1 the
// part of every tensor that the node keeps; one rank of the node (its leader) speaks to the sink.
// What all nodes save together has the same tensors either way: any shape goes on from any other.
//
//  The tensors' bytes lie one after the other in a staging memory
// that stays as it is until the sink has said how the save went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/link.h"
#include "runtime/base/result.h"
#include "runtime/train/layout.h"

namespace muster {

// One node's part of the checkpoint of `step`.
struct StagedShard {
  std::uint64_t step = 0;
  std::string memory;  // Its name in the Memory that handed it out.
  std::span<const std::byte> bytes;
  std::vector<link::StagedTensor> tensors;
  std::string host_state;
};

// A committed checkpoint, whole.
struct LoadedCheckpoint {
  std::uint64_t step = 0;
  std::vector<link::StagedTensor> tensors;
  std::string host_state;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  // Of `bytes`.
};

// One thread, that of the node's leader.
class CheckpointSink {
 public:
  virtual ~CheckpointSink() = default;

  // The newest committed checkpoint of the run, if there is any.
  virtual Result<std::optional<LoadedCheckpoint>> Load() = 0;
  // Takes the shard; how it went comes from Poll.
  virtual Status Save(const StagedShard& shard) = 0;
  // How earlier saves went, in order.  Waits up to `timeout` if there is nothing to tell.
  virtual Result<std::vector<link::Saved>> Poll(Duration timeout) = 0;
};

// The tensors of a checkpoint and where each comes from: array 0 (parameters), 1 (exp_avg) or 2
// (exp_avg_sq), from element `offset`.
struct CheckpointTensor {
  link::StagedTensor tensor;
  std::size_t array = 0;
  std::size_t offset = 0;
  std::size_t elements = 0;
};

std::vector<CheckpointTensor> CheckpointTensors(const Layout& layout);

// What a node writes: the boxes, and the runs of elements that their bytes are copied from, one
// after the other.
struct CheckpointShard {
  struct Run {
    std::size_t array = 0;
    std::size_t offset = 0;
    std::size_t elements = 0;
  };
  std::vector<link::StagedTensor> boxes;
  std::vector<Run> runs;
  std::size_t bytes() const;
};
// As even as rows allow, of nodes that have everything.
CheckpointShard EvenShard(const Layout& layout, std::uint32_t node, std::uint32_t nodes);
// Those elements of every array.
CheckpointShard ShardOfRange(const Layout& layout, Range range);

// Checks that `checkpoint` has exactly the tensors of `layout`, and copies them to the three
// arrays, as far as those reach.
Status RestoreTensors(const LoadedCheckpoint& checkpoint, const Layout& layout,
                      std::span<const ArrayPart> arrays);

}  // namespace muster
