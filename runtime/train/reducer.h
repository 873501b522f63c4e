// Sums the gradients of all ranks, bucket by bucket, in canonical order.
//
// Bucket b is the work of lane b mod lanes.  Its rank on each node combines, in place in the shared
// arena, what the node's ranks left there into the node's maximal subtrees, and carries those to
// the same lane of the other nodes.  With two nodes each lane then combines the whole bucket; with
// more, each node combines its piece and hands the sum round (reduce-scatter, all-gather).  With
// ZeRO-1 (shards.h) only the node that keeps the bucket's optimizer state gets the subtrees and
// the sum (reduce-scatter); the updated parameters are handed round later.  While one bucket
// travels, the next ones are combined.
//
// Pure but for the ProcessGroup it is given; one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/comm/canonical.h"
#include "runtime/comm/process_group.h"
#include "runtime/train/arena.h"
#include "runtime/train/layout.h"
#include "runtime/train/shards.h"
#include "runtime/train/topology.h"

namespace muster {

class GradientReducer {
 public:
  // All of them outlive the reducer.
  GradientReducer(const Layout& layout, const Topology& topology, const GradientView& gradients,
                  ProcessGroup& group, const Shards& shards);

  // Whether every rank of the node has finished its own sums of that bucket; waits so long for it.
  // kDeadline: not yet.
  using Gate = std::function<Status(std::size_t bucket, Duration timeout)>;

  // Afterwards result() holds this lane's buckets (those of this node's shard), and sums() what is
  // known of them; the other lanes' after the node's next barrier.  With ZeRO-1 the tail and the
  // other nodes' sums() are there as well.
  Status Reduce(const Gate& gate);
  // Call when every rank of the node has finished its own sums and passed the barrier.
  Status Reduce();

  // ZeRO-1: this lane's buckets of `parameters`, each from the node that updated it.
  Status GatherParameters(float* parameters);

  // The summed gradient, in the memory of a slot: valid until the next step's gradients.
  const float* result() const { return result_; }

 private:
  // One bucket between being sent and being summed.
  struct Flight {
    std::size_t bucket = 0;
    std::vector<std::unique_ptr<Work>> works;
    std::vector<std::unique_ptr<float[]>> received;  // By source: those of the other nodes.
    bool Landed() const;
  };

  bool in_lane() const { return topology_.local_rank() < topology_.lanes(); }
  // What each of the node's ranks left of that bucket.
  std::span<const float* const> InputsOf(std::size_t bucket);
  Status ReduceInNode(const Gate& gate);
  Flight Depart(std::size_t bucket);
  // Makes the whole bucket of `result_`; the sum of its squares.
  double Finish(const CombinePlan& plan, std::span<const float* const> inputs, std::size_t bucket);
  Status Arrive(Flight flight);
  std::unique_ptr<float[]> TakeBuffer();  // Of a whole bucket and the tail.
  Status HandRound(std::size_t bucket);
  Status ShareSums();
  void Judge(std::size_t bucket, double squares);
  Range PieceOf(std::size_t bucket, std::uint32_t node) const;
  int Tag(std::size_t bucket, std::size_t part) const;

  const Layout& layout_;
  const Topology& topology_;
  const GradientView gradients_;
  ProcessGroup& group_;
  const Shards& shards_;

  std::vector<float*> local_sources_;  // The subtrees of this node's ranks.
  std::vector<const float*> inputs_;
  std::vector<std::unique_ptr<float[]>> buffers_;  // Not in use.
  CombinePlan local_plan_;                         // From those to the node's subtrees...
  std::vector<float*> node_subtrees_;              // ...which lie here.

  struct Source {
    std::uint32_t node = 0;
    std::size_t subtree = 0;  // Its number among the node's.
  };
  std::vector<Source> sources_;  // The subtrees of all nodes, from left to right.
  CombinePlan world_plan_;       // From those to the whole.
  float* result_ = nullptr;
};

}  // namespace muster
