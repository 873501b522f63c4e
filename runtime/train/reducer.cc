#include "runtime/train/reducer.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <iterator>
#include <span>

#include "runtime/base/check.h"
#include "runtime/train/optimizer.h"

namespace muster {
namespace {

constexpr std::size_t kFlights = 8;  // Bounds the memory for what other nodes send.
constexpr std::size_t kPartsPerBucket = 64;
// While buckets are under way, how long the next one is waited for before they are looked after.
constexpr auto kLook = std::chrono::microseconds(500);

Collective Receive(float* values, std::size_t n, int from, int tag) {
  Collective call = Collective::Recv(Buffer(values, n, DType::kF32), from, tag);
  call.in_pieces = true;
  return call;
}

Collective Send(const float* values, std::size_t n, int to, int tag) {
  Collective call = Collective::Send(ConstBuffer(values, n, DType::kF32), to, tag);
  call.in_pieces = true;
  return call;
}

Status AwaitAll(std::vector<std::unique_ptr<Work>>& works) {
  for (const auto& work : works) RETURN_IF_ERROR(work->wait());
  return {};
}

}  // namespace

GradientReducer::GradientReducer(const Layout& layout, const Topology& topology,
                                 const GradientView& gradients, ProcessGroup& group,
                                 const Shards& shards)
    : layout_(layout), topology_(topology), gradients_(gradients), group_(group), shards_(shards) {
  const Topology::Combination sums = topology.combination();
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) {
    for (const std::uint32_t slot : topology.PlanOf(r).slots) {
      local_sources_.push_back(gradients.slot(r, slot));
    }
  }
  local_plan_ = CombinePlan(sums.ranks, sums.node, sums.node_leaves);
  // Each target is written where the first of its sources lies.
  for (const Subtree& tree : sums.node) {
    const std::uint32_t first_leaf = tree.index << tree.level;
    const auto source = std::find_if(sums.ranks.begin(), sums.ranks.end(), [&](const Subtree& s) {
      return s.index << s.level == first_leaf;
    });
    CHECK(source != sums.ranks.end());
    node_subtrees_.push_back(local_sources_[static_cast<std::size_t>(source - sums.ranks.begin())]);
  }
  result_ = node_subtrees_[0];

  std::vector<Subtree> world;
  for (std::uint32_t node = 0; node < topology.nodes(); ++node) {
    const auto& trees = sums.of_node[node];
    for (std::size_t i = 0; i < trees.size(); ++i) sources_.push_back({node, i});
    world.insert(world.end(), trees.begin(), trees.end());
  }
  world_plan_ =
      CombinePlan(world, MaximalSubtrees({.begin = 0, .end = sums.world_leaves}, sums.world_leaves),
                  sums.world_leaves);
}

Status GradientReducer::Reduce() {
  return Reduce([](std::size_t, Duration) { return Status(); });
}

Status GradientReducer::Reduce(const Gate& gate) {
  if (!in_lane()) return {};
  if (topology_.nodes() == 1) return ReduceInNode(gate);
  std::deque<Flight> flights;
  const auto land = [&]() -> Status {
    Flight first = std::move(flights.front());
    flights.pop_front();
    return Arrive(std::move(first));
  };
  for (std::size_t bucket = topology_.local_rank(); bucket < layout_.buckets();
       bucket += topology_.lanes()) {
    for (;;) {
      while (!flights.empty() && (flights.size() >= kFlights || flights.front().Landed())) {
        RETURN_IF_ERROR(land());
      }
      const Status open = gate(bucket, flights.empty() ? kPeerTimeout : kLook);
      if (open.ok()) break;
      if (open.code() != Code::kDeadline || flights.empty()) return open;
    }
    flights.push_back(Depart(bucket));
  }
  while (!flights.empty()) RETURN_IF_ERROR(land());
  return shards_.sharded() ? ShareSums() : Status();
}

Status GradientReducer::ReduceInNode(const Gate& gate) {
  for (std::size_t bucket = topology_.local_rank(); bucket < layout_.buckets();
       bucket += topology_.lanes()) {
    RETURN_IF_ERROR(gate(bucket, kPeerTimeout));
    Judge(bucket, Finish(local_plan_, InputsOf(bucket), bucket));
  }
  return {};
}

std::span<const float* const> GradientReducer::InputsOf(std::size_t bucket) {
  inputs_.clear();
  const std::size_t at = layout_.GradientBucket(bucket).begin;
  for (const float* source : local_sources_) inputs_.push_back(source + at);
  return inputs_;
}

bool GradientReducer::Flight::Landed() const {
  return std::all_of(works.begin(), works.end(), [](const auto& work) { return work->done(); });
}

GradientReducer::Flight GradientReducer::Depart(std::size_t bucket) {
  const Range range = layout_.GradientBucket(bucket);
  std::vector<float*> outputs;
  for (float* tree : node_subtrees_) outputs.push_back(tree + range.begin);
  local_plan_.Combine(InputsOf(bucket), outputs, range.size());

  Flight flight{.bucket = bucket};
  const std::uint32_t me = topology_.node();
  const std::size_t mine = PieceOf(bucket, me).size();
  for (const Source& source : sources_) {
    if (source.node == me || mine == 0) continue;
    const auto& into = flight.received.emplace_back(TakeBuffer());
    const int peer = topology_.RankAt(source.node, topology_.local_rank());
    flight.works.push_back(
        group_.start(Receive(into.get(), mine, peer, Tag(bucket, source.subtree))));
  }
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    const Range piece = PieceOf(bucket, node);
    if (node == me || piece.size() == 0) continue;
    for (std::size_t i = 0; i < node_subtrees_.size(); ++i) {
      flight.works.push_back(
          group_.start(Send(node_subtrees_[i] + piece.begin, piece.size(),
                            topology_.RankAt(node, topology_.local_rank()), Tag(bucket, i))));
    }
  }
  return flight;
}

Status GradientReducer::Arrive(Flight flight) {
  RETURN_IF_ERROR(AwaitAll(flight.works));
  const Range whole = layout_.GradientBucket(flight.bucket);
  const Range piece = PieceOf(flight.bucket, topology_.node());
  double squares = 0;
  if (piece.size() > 0) {
    std::vector<const float*> inputs;
    std::size_t next = 0;
    for (const Source& source : sources_) {
      inputs.push_back(source.node == topology_.node()
                           ? node_subtrees_[source.subtree] + piece.begin
                           : flight.received[next++].get());
    }
    if (piece == whole) {
      squares = Finish(world_plan_, inputs, flight.bucket);
    } else {
      float* const output = result_ + piece.begin;
      world_plan_.Combine(inputs, {&output, 1}, piece.size());
    }
    std::move(flight.received.begin(), flight.received.end(), std::back_inserter(buffers_));
  }
  if (!shards_.Owns(topology_.node(), flight.bucket)) return {};
  if (piece != whole) {
    RETURN_IF_ERROR(HandRound(flight.bucket));
    const Range bucket = layout_.Bucket(flight.bucket);
    squares = SumOfSquares(result_ + bucket.begin, bucket.size());
  }
  Judge(flight.bucket, squares);
  return {};
}

double GradientReducer::Finish(const CombinePlan& plan, std::span<const float* const> inputs,
                               std::size_t bucket) {
  const std::size_t elements = layout_.Bucket(bucket).size();  // Without the tail.
  const Range range = layout_.GradientBucket(bucket);
  float* const output = result_ + range.begin;
  SquareSum squares;
  plan.Combine(inputs, {&output, 1}, range.size(), [&](std::size_t at, std::size_t size) {
    if (at < elements) squares.Add(output + at, std::min(size, elements - at));
  });
  return squares.Total();
}

// From step to step the same ones: fresh memory would cost more than what comes in it.
std::unique_ptr<float[]> GradientReducer::TakeBuffer() {
  if (buffers_.empty()) {
    return std::make_unique_for_overwrite<float[]>(layout_.bucket_elements() + Layout::kTail);
  }
  auto buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void GradientReducer::Judge(std::size_t bucket, double squares) {
  const Range range = layout_.Bucket(bucket);
  BucketSum& sum = gradients_.sums()[bucket];
  sum = {.squares = squares};
  if (std::isfinite(sum.squares)) return;
  const auto broken = [&](std::size_t i) { return !std::isfinite(result_[i]); };
  std::size_t at = range.begin;
  while (at + 1 < range.end && !broken(at)) ++at;
  sum.broken_tensor = static_cast<std::int64_t>(layout_.TensorAt(at));
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
  return AwaitAll(works);
}

// Every lane tells the same lane of the other nodes what it knows of its buckets; the last bucket's
// lane the tail as well.
Status GradientReducer::ShareSums() {
  struct Message {
    std::vector<std::size_t> buckets;
    std::vector<BucketSum> sums;
  };
  const std::size_t last = layout_.buckets() - 1;
  const int tag = Tag(layout_.buckets(), 0);
  std::vector<Message> messages(topology_.nodes());
  std::vector<std::unique_ptr<Work>> works;
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    for (std::size_t b = topology_.local_rank(); b <= last; b += topology_.lanes()) {
      if (shards_.Owns(node, b)) messages[node].buckets.push_back(b);
    }
    messages[node].sums.resize(messages[node].buckets.size());
  }
  Message& mine = messages[topology_.node()];
  for (std::size_t i = 0; i < mine.buckets.size(); ++i) {
    mine.sums[i] = gradients_.sums()[mine.buckets[i]];
  }
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    if (node == topology_.node()) continue;
    const int peer = topology_.RankAt(node, topology_.local_rank());
    const auto exchange = [&](std::span<std::byte> bytes, std::uint32_t from, int part) {
      if (bytes.empty()) return;
      works.push_back(group_.start(from == node ? Collective::Recv(bytes, peer, tag + part)
                                                : Collective::Send(bytes, peer, tag + part)));
    };
    for (const std::uint32_t from : {node, topology_.node()}) {
      exchange(std::as_writable_bytes(std::span(messages[from].sums)), from, 0);
      const bool has_tail = last % topology_.lanes() == topology_.local_rank();
      if (!has_tail || !shards_.Owns(from, last)) continue;
      exchange(std::as_writable_bytes(std::span(result_ + layout_.tail(), Layout::kTail)), from, 1);
    }
  }
  RETURN_IF_ERROR(AwaitAll(works));
  for (const Message& message : messages) {
    for (std::size_t i = 0; i < message.buckets.size(); ++i) {
      gradients_.sums()[message.buckets[i]] = message.sums[i];
    }
  }
  return {};
}

Status GradientReducer::GatherParameters(float* parameters) {
  if (!in_lane()) return {};
  std::vector<std::unique_ptr<Work>> works;
  const std::uint32_t me = topology_.node();
  for (std::size_t bucket = topology_.local_rank(); bucket < layout_.buckets();
       bucket += topology_.lanes()) {
    const Range range = layout_.Bucket(bucket);
    float* const values = parameters + range.begin;
    const int tag = Tag(bucket, kPartsPerBucket - 1);
    for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
      if (node == me) continue;
      const int peer = topology_.RankAt(node, topology_.local_rank());
      if (shards_.Owns(me, bucket)) {
        works.push_back(group_.start(Send(values, range.size(), peer, tag)));
      } else if (shards_.Owns(node, bucket)) {
        works.push_back(group_.start(Receive(values, range.size(), peer, tag)));
      }
    }
  }
  return AwaitAll(works);
}

Range GradientReducer::PieceOf(std::size_t bucket, std::uint32_t node) const {
  const Range whole = layout_.GradientBucket(bucket);
  const std::uint32_t nodes = topology_.nodes();
  if (shards_.sharded()) return shards_.Owns(node, bucket) ? whole : Range{};
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
