#include "runtime/train/topology.h"

#include <algorithm>
#include <string>

namespace muster {
namespace {

std::vector<Subtree> Leaf(std::uint32_t index, std::uint32_t leaves) {
  return MaximalSubtrees({.begin = index, .end = index + 1}, leaves);
}

}  // namespace

Result<Topology> Topology::Make(std::span<const Place> places, int rank,
                                std::uint32_t micro_batches, bool canonical) {
  CHECK(rank >= 0 && static_cast<std::size_t>(rank) < places.size());
  if (micro_batches < places.size()) {
    return Status(
        Code::kInvalid,
        "a step has " + std::to_string(micro_batches) + " micro-batches for " +
            std::to_string(places.size()) +
            " ranks; each rank needs at least one: use fewer ranks or more micro-batches");
  }
  Topology topology;
  topology.rank_ = rank;
  topology.canonical_ = canonical;
  topology.micro_batches_ = micro_batches;
  topology.world_size_ = static_cast<std::uint32_t>(places.size());
  for (std::size_t r = 0; r < places.size(); ++r) {
    const auto node = static_cast<std::size_t>(places[r].node);
    const auto local = static_cast<std::size_t>(places[r].local_rank);
    if (node >= places.size() || local >= places.size()) {
      return Status(Code::kInvalid, "rank " + std::to_string(r) + " says it is local rank " +
                                        std::to_string(places[r].local_rank) + " of node " +
                                        std::to_string(places[r].node));
    }
    if (topology.ranks_.size() <= node) topology.ranks_.resize(node + 1);
    auto& of_node = topology.ranks_[node];
    if (of_node.size() <= local) of_node.resize(local + 1, -1);
    if (of_node[local] != -1) {
      return Status(Code::kInvalid, "ranks " + std::to_string(of_node[local]) + " and " +
                                        std::to_string(r) + " both say they are local rank " +
                                        std::to_string(local) + " of node " + std::to_string(node));
    }
    of_node[local] = static_cast<int>(r);
  }
  topology.lanes_ = topology.world_size_;
  std::uint32_t before = 0;
  for (const auto& of_node : topology.ranks_) {
    if (of_node.empty() || std::count(of_node.begin(), of_node.end(), -1) > 0) {
      return Status(Code::kInvalid, "the ranks' nodes or local ranks have a hole");
    }
    topology.ranks_before_.push_back(before);
    const auto size = static_cast<std::uint32_t>(of_node.size());
    before += size;
    topology.lanes_ = std::min(topology.lanes_, size);
  }
  const Place mine = places[static_cast<std::size_t>(rank)];
  topology.node_ = static_cast<std::uint32_t>(mine.node);
  topology.local_rank_ = static_cast<std::uint32_t>(mine.local_rank);
  return topology;
}

std::uint32_t Topology::LocalSize(std::uint32_t node) const {
  return static_cast<std::uint32_t>(ranks_[node].size());
}

int Topology::RankAt(std::uint32_t node, std::uint32_t local_rank) const {
  return ranks_[node][local_rank];
}

MicroBatches Topology::RunOfLocal(std::uint32_t node, std::uint32_t local_rank) const {
  return RunOf(ranks_before_[node] + local_rank, world_size_, micro_batches_);
}

MicroBatches Topology::RunOfNode(std::uint32_t node) const {
  return {.begin = RunOfLocal(node, 0).begin, .end = RunOfLocal(node, LocalSize(node) - 1).end};
}

AccumulatePlan Topology::PlanOf(std::uint32_t local_rank) const {
  const MicroBatches run = RunOfLocal(node_, local_rank);
  if (canonical_) return PlanAccumulation(run, micro_batches_);
  AccumulatePlan plan{.subtrees = Leaf(local_rank, local_size()), .slots = {0}, .slots_used = 1};
  for (std::uint32_t m = run.begin; m < run.end; ++m) {
    const std::uint32_t slot = m == run.begin ? 0 : 1;
    plan.steps.push_back({.compute = true, .micro_batch = m, .slot = slot});
    if (slot > 0) plan.steps.push_back({.slot = 0, .from = slot});
    plan.slots_used = std::max(plan.slots_used, slot + 1);
  }
  return plan;
}

Topology::Combination Topology::combination() const {
  Combination all;
  for (std::uint32_t r = 0; r < local_size(); ++r) {
    const AccumulatePlan plan = PlanOf(r);
    all.ranks.insert(all.ranks.end(), plan.subtrees.begin(), plan.subtrees.end());
  }
  all.node_leaves = canonical_ ? micro_batches_ : local_size();
  all.world_leaves = canonical_ ? micro_batches_ : nodes();
  for (std::uint32_t node = 0; node < nodes(); ++node) {
    all.of_node.push_back(canonical_ ? MaximalSubtrees(RunOfNode(node), micro_batches_)
                                     : Leaf(node, nodes()));
  }
  all.node = canonical_ ? all.of_node[node_]
                        : MaximalSubtrees({.begin = 0, .end = local_size()}, local_size());
  return all;
}

}  // namespace muster
