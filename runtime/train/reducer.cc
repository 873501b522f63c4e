#include "runtime/train/reducer.h"

#include <algorithm>
#include <deque>
#include <span>

#include "runtime/base/check.h"
#include "runtime/train/optimizer.h"

namespace muster {
namespace {

constexpr std::size_t kFlights = 8;  // Bounds the memory for what other nodes send.
constexpr std::size_t kPartsPerBucket = 64;

Collective Receive(float* values, std::size_t n, int from, int tag) {
  return Collective::Recv(Buffer(values, n, DType::kF32), from, tag);
}

Collective Send(const float* values, std::size_t n, int to, int tag) {
  return Collective::Send(ConstBuffer(values, n, DType::kF32), to, tag);
}

}  // namespace

GradientReducer::GradientReducer(const Layout& layout, const Topology& topology,
                                 const GradientView& gradients, ProcessGroup& group)
    : layout_(layout), topology_(topology), gradients_(gradients), group_(group) {
  const std::uint32_t leaves = topology.micro_batches();
  std::vector<Subtree> local;
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) {
    const AccumulatePlan plan = PlanAccumulation(topology.RunOfLocal(topology.node(), r), leaves);
    local.insert(local.end(), plan.subtrees.begin(), plan.subtrees.end());
    for (const std::uint32_t slot : plan.slots) {
      local_sources_.push_back(gradients.slot(r, slot));
    }
  }
  const auto node_trees = MaximalSubtrees(topology.RunOfNode(topology.node()), leaves);
  local_plan_ = CombinePlan(local, node_trees, leaves);
  // Each target is written where the first of its sources lies.
  for (const Subtree& tree : node_trees) {
    const std::uint32_t first_leaf = tree.index << tree.level;
    const auto source = std::find_if(local.begin(), local.end(), [&](const Subtree& s) {
      return s.index << s.level == first_leaf;
    });
    CHECK(source != local.end());
    node_subtrees_.push_back(local_sources_[static_cast<std::size_t>(source - local.begin())]);
  }
  result_ = node_subtrees_[0];

  std::vector<Subtree> world;
  for (std::uint32_t node = 0; node < topology.nodes(); ++node) {
    const auto trees = MaximalSubtrees(topology.RunOfNode(node), leaves);
    for (std::size_t i = 0; i < trees.size(); ++i) sources_.push_back({node, i});
    world.insert(world.end(), trees.begin(), trees.end());
  }
  world_plan_ = CombinePlan(world, MaximalSubtrees({.begin = 0, .end = leaves}, leaves), leaves);
}

Status GradientReducer::Reduce() {
  if (topology_.local_rank() >= topology_.lanes()) return {};
  std::deque<Flight> flights;
  for (std::size_t bucket = topology_.local_rank(); bucket < layout_.buckets();
       bucket += topology_.lanes()) {
    flights.push_back(Depart(bucket));
    if (flights.size() < kFlights) continue;
    RETURN_IF_ERROR(Arrive(std::move(flights.front())));
    flights.pop_front();
  }
  for (Flight& flight : flights) RETURN_IF_ERROR(Arrive(std::move(flight)));
  return {};
}

GradientReducer::Flight GradientReducer::Depart(std::size_t bucket) {
  const Range range = layout_.GradientBucket(bucket);
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
  for (const float* source : local_sources_) inputs.push_back(source + range.begin);
  for (float* tree : node_subtrees_) outputs.push_back(tree + range.begin);
  local_plan_.Combine(inputs, outputs, range.size());

  Flight flight{.bucket = bucket};
  const std::uint32_t me = topology_.node();
  const std::size_t mine = PieceOf(bucket, me).size();
  for (const Source& source : sources_) {
    if (source.node == me) continue;
    auto& into = flight.received.emplace_back(mine);
    const int peer = topology_.RankAt(source.node, topology_.local_rank());
    flight.works.push_back(
        group_.start(Receive(into.data(), mine, peer, Tag(bucket, source.subtree))));
  }
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    if (node == me) continue;
    const Range piece = PieceOf(bucket, node);
    for (std::size_t i = 0; i < node_subtrees_.size(); ++i) {
      flight.works.push_back(
          group_.start(Send(node_subtrees_[i] + piece.begin, piece.size(),
                            topology_.RankAt(node, topology_.local_rank()), Tag(bucket, i))));
    }
  }
  return flight;
}

Status GradientReducer::Arrive(Flight flight) {
  for (const auto& work : flight.works) RETURN_IF_ERROR(work->wait());
  const Range whole = layout_.GradientBucket(flight.bucket);
  if (topology_.nodes() > 1) {
    const Range piece = PieceOf(flight.bucket, topology_.node());
    std::vector<const float*> inputs;
    std::size_t next = 0;
    for (const Source& source : sources_) {
      inputs.push_back(source.node == topology_.node()
                           ? node_subtrees_[source.subtree] + piece.begin
                           : flight.received[next++].data());
    }
    float* const output = result_ + piece.begin;
    world_plan_.Combine(inputs, {&output, 1}, piece.size());
    if (piece != whole) RETURN_IF_ERROR(HandRound(flight.bucket));
  }
  gradients_.partials()[flight.bucket] =
      SumOfSquares(result_ + whole.begin, layout_.Bucket(flight.bucket).size());
  return {};
}

Status GradientReducer::HandRound(std::size_t bucket) {
  std::vector<std::unique_ptr<Work>> works;
  const Range mine = PieceOf(bucket, topology_.node());
  const int tag = Tag(bucket, kPartsPerBucket - 1);
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    if (node == topology_.node()) continue;
    const int peer = topology_.RankAt(node, topology_.local_rank());
    const Range theirs = PieceOf(bucket, node);
    works.push_back(group_.start(Receive(result_ + theirs.begin, theirs.size(), peer, tag)));
    works.push_back(group_.start(Send(result_ + mine.begin, mine.size(), peer, tag)));
  }
  for (const auto& work : works) RETURN_IF_ERROR(work->wait());
  return {};
}

Range GradientReducer::PieceOf(std::size_t bucket, std::uint32_t node) const {
  const Range whole = layout_.GradientBucket(bucket);
  const std::uint32_t nodes = topology_.nodes();
  if (nodes <= 2) return whole;
  const std::size_t lines = whole.size() / Layout::kAlignment;
  const auto cut = [&](std::uint32_t n) {
    return whole.begin + lines * n / nodes * Layout::kAlignment;
  };
  return {.begin = cut(node), .end = cut(node + 1)};
}

int GradientReducer::Tag(std::size_t bucket, std::size_t part) const {
  return static_cast<int>(bucket * kPartsPerBucket + part);
}

}  // namespace muster
