// Where the loop hands its checkpoints to, and where it gets one back from.
//
// A node's shard is its even part of the tensors' bytes (checkpoint::ShareOf), or with ZeRO-1 the
// part of every tensor that the node keeps; one rank of the node (its leader) speaks to the sink.
// What all nodes save together has the same tensors either way: any shape goes on from any other.
//
// The tensors' bytes lie one after the other in a staging memory that stays as it is until the sink
// has said how the save went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/link.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/train/layout.h"

namespace muster {

// Of a store without a deadline of its own.
inline constexpr Duration kReadPatience = std::chrono::minutes(10);

// One node's part of the checkpoint of `step`.
struct StagedShard {
  std::uint64_t step = 0;
  std::string memory;  // Its name in the Memory that handed it out.
  std::span<const std::byte> bytes;
  std::vector<link::StagedTensor> tensors;
  std::string host_state;
};

// One thread, that of the node's leader.
class CheckpointSink {
 public:
  virtual ~CheckpointSink() = default;

  // What the newest committed checkpoint of the run holds, if there is any.
  virtual Result<std::optional<checkpoint::Manifest>> OpenNewest() = 0;
  // Some MiB of one of its files, once their CRCs held; as they are until the next call but one.
  // Any node's sink reads what another's has opened.
  virtual Result<std::span<const std::byte>> Read(const checkpoint::SaveId& save,
                                                  const checkpoint::ManifestFile& file,
                                                  std::uint64_t first, std::uint64_t blocks) = 0;
  // How long other nodes wait for what this one's sink reads at a time.
  virtual Duration patience() const { return kReadPatience; }
  // Takes the shard; how it went comes from Poll.
  virtual Status Save(const StagedShard& shard) = 0;
  // This node has no memory to stage that step in: it is not saved, which Poll tells all nodes.
  virtual Status Skip(std::uint64_t step) = 0;
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

// What the three arrays want of a checkpoint, as far as they reach, and where each box goes.
struct RestoreTargets {
  std::vector<link::StagedTensor> boxes;
  std::vector<std::byte*> into;
};
RestoreTargets TargetsOf(const Layout& layout, std::span<const ArrayPart> arrays);

// That the checkpoint has exactly the tensors of `layout`.
Status CheckSameModel(const checkpoint::Manifest& manifest, const Layout& layout);

}  // namespace muster
