// Who is where: which rank runs on which node, and who owns which micro-batches.
//
// Ranks are ordered by (node, local rank); in that order they own contiguous runs of micro-batches,
// so a node's ranks own one run together.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/comm/canonical.h"

namespace muster {

struct Place {
  std::int32_t node = 0;
  std::int32_t local_rank = 0;
  bool operator==(const Place&) const = default;
};

class Topology {
 public:
  // places[r] is where rank r runs.  Nodes and local ranks count from 0 without holes.
  // `canonical`: sums go over the tree of micro-batches (canonical.h); else each rank adds up its
  // own one after the other, the ranks of a node then theirs, and the nodes theirs: fewer buffers
  // and messages, but bits that depend on who runs where.
  static Result<Topology> Make(std::span<const Place> places, int rank, std::uint32_t micro_batches,
                               bool canonical = true);

  int rank() const { return rank_; }
  std::uint32_t micro_batches() const { return micro_batches_; }
  std::uint32_t node() const { return node_; }
  std::uint32_t local_rank() const { return local_rank_; }
  std::uint32_t nodes() const { return static_cast<std::uint32_t>(ranks_.size()); }
  std::uint32_t local_size() const { return LocalSize(node_); }
  std::uint32_t LocalSize(std::uint32_t node) const;
  bool leader() const { return local_rank_ == 0; }
  int RankAt(std::uint32_t node, std::uint32_t local_rank) const;

  // Lane l is local rank l of every node; buckets are dealt to the lanes that all nodes have.
  std::uint32_t lanes() const { return lanes_; }

  MicroBatches RunOfLocal(std::uint32_t node, std::uint32_t local_rank) const;
  MicroBatches RunOfNode(std::uint32_t node) const;

  // How a rank of this node sums its own run.
  AccumulatePlan PlanOf(std::uint32_t local_rank) const;
  // What the ranks of this node hand in, what each node makes of that, and what all make of those.
  // Subtrees of one tree (`leaves` wide) inside a node, and of one over the nodes.
  struct Combination {
    std::vector<Subtree> ranks, node;           // Of this node, in the order of its ranks.
    std::uint32_t node_leaves = 0;              //
    std::vector<std::vector<Subtree>> of_node;  // Of each node.
    std::uint32_t world_leaves = 0;
  };
  Combination combination() const;

 private:
  int rank_ = 0;
  bool canonical_ = true;
  std::uint32_t micro_batches_ = 0;
  std::uint32_t node_ = 0;
  std::uint32_t local_rank_ = 0;
  std::uint32_t lanes_ = 0;
  std::uint32_t world_size_ = 0;
  std::vector<std::vector<int>> ranks_;      // By node and local rank.
  std::vector<std::uint32_t> ranks_before_;  // On the nodes before.
};

}  // namespace muster
