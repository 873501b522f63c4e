// Collectives of the ranks of one node, through memory that they share.
//
// A rank copies what the others need into its own block, and reads what it needs from theirs; long
// buffers go block by block, while one is copied in the one before is reduced and the one before
// that copied out, with one barrier a block.  A reduction is dealt out: each rank combines its
// slice of the block from all ranks, in the order of the ranks; so the bits depend on nothing else.
//
// At its first barrier each rank has published the signature of its call, and behind it compares
// all of them, before it touches anything but its own block.
//
// The memory is zeros at first and belongs to one group.  One instance per rank; one thread, but
// for Wake.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/collective.h"
#include "runtime/comm/reduce.h"

namespace muster {

// Takes what the ranks of one node reduced to the other nodes.
class NodeBridge {
 public:
  virtual ~NodeBridge() = default;

  // Only on the node's first rank: do all ranks of all nodes make the same call?
  virtual Status Agree(std::span<const Signature> of_node, const Call& call) = 0;

  // Of the whole group, and the number in it of a rank of this node.
  virtual int world_size() const = 0;
  virtual int RankOf(std::size_t local_rank) const = 0;

  // How many of the node's ranks, from the first, take a slice each to the other nodes.
  virtual std::size_t lanes() const = 0;
  // How many slices may be under way.
  virtual std::size_t depth() const = 0;
  // Begins to combine `n` accumulators, in place, with those of the same slice on the other nodes.
  virtual Status Depart(const Reduction& how, std::size_t slot, void* accumulated,
                        std::size_t n) = 0;
  // Ends it.
  virtual Status Arrive(std::size_t slot, const Call& call) = 0;
};

class NodeExchange {
 public:
  // Of the shared memory; it is page aligned.
  static std::size_t Bytes(int ranks);

  // `bridge`: the group has other nodes, too; null: these ranks are all of it.
  NodeExchange(std::span<std::byte> memory, int rank, int ranks, const AbortFlag& abort,
               NodeBridge* bridge = nullptr);

  // All ranks of the node call it.  With a bridge, only for all_reduce and barrier.
  Status Run(const Call& call);

  // The check alone, for calls that something else carries out: all ranks came, and call alike.
  Status Enter(const Call& call);

  void Wake() { barrier_.Wake(); }

 private:
  struct Header;

  Status AgreeWithNodes(const Call& call);
  Status Sync(const Call& call);
  Status Missing(const Call& call, const Status& why) const;

  // in(block, parity) on all ranks | barrier | out(block, parity).
  template <typename In, typename Out>
  Status Copy(const Call& call, std::size_t blocks, In in, Out out);

  Status AllReduceShort(const Call& call);
  Status Reduce(const Call& call, bool wanted);
  Status ReduceScatter(const Call& call);
  Status Gather(const Call& call, bool wanted);
  Status Broadcast(const Call& call);
  Status AllToAll(const Call& call);
  Status Scatter(const Call& call);

  class Reducing;

  std::byte* Staged(std::size_t parity, std::size_t rank) const;
  std::byte* Reduced(std::size_t parity) const;

  const std::size_t rank_;
  const std::size_t ranks_;
  const std::size_t block_bytes_;
  NodeBridge* const bridge_;
  Header* const header_;
  std::byte* const blocks_;
  NodeBarrier barrier_;
  std::uint64_t calls_ = 0;
  std::size_t next_block_ = 0;  // Its parity says where it lies.
  std::vector<const void*> inputs_;
  std::vector<std::byte> under_way_;  // A slice for each of the bridge's slots.
};

}  // namespace muster
