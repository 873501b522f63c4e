#include "runtime/comm/schedule.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/comm/reduce.h"

namespace muster {
namespace {

using Kind = Collective::Kind;

constexpr std::size_t kShortBytes = std::size_t{16} << 10U;
constexpr std::size_t kLine = 64;

void CopyBytes(std::byte* to, const std::byte* from, std::size_t n) {
  if (n > 0 && to != from) std::memcpy(to, from, n);
}

}  // namespace

std::byte* Schedule::Scratch(std::size_t bytes) {
  // Not make_unique, which would write zeros first.
  return scratch.emplace_back(new std::byte[std::max<std::size_t>(1, bytes)]).get();
}

CallPlan::CallPlan(const Collective& call, int rank, int ranks, std::size_t part_bytes)
    : call_(call),
      rank_(rank),
      ranks_(ranks),
      size_(SizeOf(SignatureOf(call).dtype)),
      count_(call.kind == Kind::kAllToAll
                 ? call.in.count / static_cast<std::size_t>(ranks)
                 : (call.kind == Kind::kBarrier ? 0 : SignatureOf(call).count)),
      each_(part_bytes / size_) {}

std::size_t CallPlan::parts() const {
  return (count_ + each_ - 1) / each_;
}

Schedule CallPlan::Part(std::size_t number) const {
  const Range part{.begin = number * each_, .size = std::min(each_, count_ - number * each_)};
  Schedule schedule;
  switch (call_.kind) {
    case Kind::kAllReduce:
    case Kind::kReduce:
      if (ranks_ == 2 || part.size * size_ <= kShortBytes) {
        ReduceShort(schedule, part);
      } else {
        ReduceLong(schedule, part);
      }
      break;
    case Kind::kReduceScatter:
      ReduceScatter(schedule, part);
      break;
    case Kind::kAllGather:
    case Kind::kAllToAll:
    case Kind::kSplit:
      Exchange(schedule, part);
      break;
    case Kind::kBroadcast:
      if (ranks_ <= 2 || part.size * size_ <= kShortBytes) {
        BroadcastTree(schedule, part);
      } else {
        Broadcast(schedule, part);
      }
      break;
    case Kind::kGather:
      Gather(schedule, part);
      break;
    case Kind::kScatter:
      Scatter(schedule, part);
      break;
    default:
      break;
  }
  return schedule;
}

// Whole cache lines but for the last.
CallPlan::Range CallPlan::SliceOf(Range part, int rank) const {
  const std::size_t line = kLine / size_;
  const std::size_t lines = (part.size + line - 1) / line;
  const auto n = static_cast<std::size_t>(ranks_);
  const auto r = static_cast<std::size_t>(rank);
  const std::size_t begin = std::min(part.size, lines * r / n * line);
  const std::size_t end = std::min(part.size, lines * (r + 1) / n * line);
  return {.begin = part.begin + begin, .size = end - begin};
}

std::byte* CallPlan::In(int owner, std::size_t element) const {
  // Transfers carry one kind of pointer; what is sent is only read.
  return const_cast<std::byte*>(call_.in.at(static_cast<std::size_t>(owner) * count_ + element));
}

std::byte* CallPlan::Out(int owner, std::size_t element) const {
  return call_.out.at(static_cast<std::size_t>(owner) * count_ + element);
}

// Receives the others' elements of `slice` in `round`, and then combines them with this rank's own.
void CallPlan::Sum(Schedule& schedule, Round& round, Range slice, std::byte* to) const {
  const bool by_part = call_.kind == Kind::kReduceScatter;
  std::vector<const void*> inputs;
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) {
      inputs.push_back(In(by_part ? rank_ : 0, slice.begin));
      continue;
    }
    std::byte* theirs = schedule.Scratch(slice.size * size_);
    inputs.push_back(theirs);
    round.transfers.push_back({.peer = r, .at = theirs, .bytes = slice.size * size_});
  }
  const Reduction how{
      .dtype = call_.in.dtype, .op = call_.op, .ranks = static_cast<std::size_t>(ranks_)};
  round.then = [how, inputs = std::move(inputs), to, n = slice.size] { how.Run(inputs, to, n); };
}

void CallPlan::Exchange(Schedule& schedule, Range part) const {
  Round& round = schedule.rounds.emplace_back();
  const bool personal = call_.kind == Kind::kAllToAll;
  const std::size_t bytes = part.size * size_;
  // Each rank begins with another peer, so that not all send to the same one.
  for (int i = 1; i < ranks_; ++i) {
    const int from = (rank_ + i) % ranks_;
    round.transfers.push_back({.peer = from, .at = Out(from, part.begin), .bytes = bytes});
  }
  for (int i = 1; i < ranks_; ++i) {
    const int to = (rank_ - i + ranks_) % ranks_;
    round.transfers.push_back(
        {.peer = to, .sends = true, .at = In(personal ? to : 0, part.begin), .bytes = bytes});
  }
  round.then = [from = In(personal ? rank_ : 0, part.begin), to = Out(rank_, part.begin), bytes] {
    CopyBytes(to, from, bytes);
  };
}

void CallPlan::Gather(Schedule& schedule, Range part) const {
  Round& round = schedule.rounds.emplace_back();
  const std::size_t bytes = part.size * size_;
  if (rank_ != call_.root) {
    round.transfers.push_back(
        {.peer = call_.root, .sends = true, .at = In(0, part.begin), .bytes = bytes});
    return;
  }
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) continue;
    round.transfers.push_back({.peer = r, .at = Out(r, part.begin), .bytes = bytes});
  }
  round.then = [from = In(0, part.begin), to = Out(rank_, part.begin), bytes] {
    CopyBytes(to, from, bytes);
  };
}

void CallPlan::Scatter(Schedule& schedule, Range part) const {
  Round& round = schedule.rounds.emplace_back();
  const std::size_t bytes = part.size * size_;
  if (rank_ != call_.root) {
    round.transfers.push_back({.peer = call_.root, .at = Out(0, part.begin), .bytes = bytes});
    return;
  }
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) continue;
    round.transfers.push_back({.peer = r, .sends = true, .at = In(r, part.begin), .bytes = bytes});
  }
  round.then = [from = In(rank_, part.begin), to = Out(0, part.begin), bytes] {
    CopyBytes(to, from, bytes);
  };
}

// A binomial tree.
void CallPlan::BroadcastTree(Schedule& schedule, Range part) const {
  const std::size_t bytes = part.size * size_;
  const int place = (rank_ - call_.root + ranks_) % ranks_;
  const auto peer = [&](int at) { return (at + call_.root) % ranks_; };
  int mask = 1;
  for (; mask < ranks_; mask <<= 1) {
    if ((place & mask) == 0) continue;
    schedule.rounds.emplace_back().transfers.push_back(
        {.peer = peer(place - mask), .at = Out(0, part.begin), .bytes = bytes});
    break;
  }
  Round& down = schedule.rounds.emplace_back();
  for (mask >>= 1; mask > 0; mask >>= 1) {
    if (place + mask >= ranks_) continue;
    down.transfers.push_back(
        {.peer = peer(place + mask), .sends = true, .at = Out(0, part.begin), .bytes = bytes});
  }
}

// The root deals slices, which all then give to all but the root.
void CallPlan::Broadcast(Schedule& schedule, Range part) const {
  Round deal;
  Round spread;
  const bool root = rank_ == call_.root;
  const auto transfer = [&](int peer, bool sends, int owner) {
    const Range slice = SliceOf(part, owner);
    return Transfer{
        .peer = peer, .sends = sends, .at = Out(0, slice.begin), .bytes = slice.size * size_};
  };
  if (!root) deal.transfers.push_back(transfer(call_.root, false, rank_));
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) continue;
    if (root) deal.transfers.push_back(transfer(r, true, r));
    if (!root) spread.transfers.push_back(transfer(r, false, r));
  }
  for (int r = 0; r < ranks_; ++r) {
    if (r != rank_ && r != call_.root) spread.transfers.push_back(transfer(r, true, rank_));
  }
  schedule.rounds.push_back(std::move(deal));
  schedule.rounds.push_back(std::move(spread));
}

void CallPlan::ReduceScatter(Schedule& schedule, Range part) const {
  Round round;
  Sum(schedule, round, part, Out(0, part.begin));
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) continue;
    round.transfers.push_back(
        {.peer = r, .sends = true, .at = In(r, part.begin), .bytes = part.size * size_});
  }
  schedule.rounds.push_back(std::move(round));
}

// Everything to whoever wants it.
void CallPlan::ReduceShort(Schedule& schedule, Range part) const {
  Round round;
  const bool all = call_.kind == Kind::kAllReduce;
  if (all || rank_ == call_.root) Sum(schedule, round, part, Out(0, part.begin));
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_ || (!all && r != call_.root)) continue;
    round.transfers.push_back(
        {.peer = r, .sends = true, .at = In(0, part.begin), .bytes = part.size * size_});
  }
  schedule.rounds.push_back(std::move(round));
}

void CallPlan::ReduceLong(Schedule& schedule, Range part) const {
  const bool all = call_.kind == Kind::kAllReduce;
  const bool wanted = all || rank_ == call_.root;
  const Range mine = SliceOf(part, rank_);
  std::byte* sum = wanted ? Out(0, mine.begin) : schedule.Scratch(mine.size * size_);
  Round scatter;
  Round gather;
  Sum(schedule, scatter, mine, sum);
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_) continue;
    const Range theirs = SliceOf(part, r);
    const std::size_t bytes = theirs.size * size_;
    scatter.transfers.push_back(
        {.peer = r, .sends = true, .at = In(0, theirs.begin), .bytes = bytes});
    if (wanted) gather.transfers.push_back({.peer = r, .at = Out(0, theirs.begin), .bytes = bytes});
  }
  for (int r = 0; r < ranks_; ++r) {
    if (r == rank_ || (!all && r != call_.root)) continue;
    gather.transfers.push_back({.peer = r, .sends = true, .at = sum, .bytes = mine.size * size_});
  }
  schedule.rounds.push_back(std::move(scatter));
  schedule.rounds.push_back(std::move(gather));
}

Schedule SpreadHashes(HashRange& range, int rank, int ranks) {
  Schedule schedule;
  for (int step = 1; step < ranks; step *= 2) {
    auto* mine = schedule.Scratch(sizeof(HashRange));
    auto* theirs = schedule.Scratch(sizeof(HashRange));
    // What is sent is what the round before made of it.
    std::memcpy(mine, &range, sizeof(HashRange));
    if (!schedule.rounds.empty()) {
      auto before = std::move(schedule.rounds.back().then);
      schedule.rounds.back().then = [before = std::move(before), mine, &range] {
        before();
        std::memcpy(mine, &range, sizeof(HashRange));
      };
    }
    Round& round = schedule.rounds.emplace_back();
    round.transfers.push_back(
        {.peer = (rank - step % ranks + ranks) % ranks, .at = theirs, .bytes = sizeof(HashRange)});
    round.transfers.push_back(
        {.peer = (rank + step) % ranks, .sends = true, .at = mine, .bytes = sizeof(HashRange)});
    round.then = [theirs, &range] {
      HashRange other;
      std::memcpy(&other, theirs, sizeof other);
      range = {.least = std::min(range.least, other.least),
               .most = std::max(range.most, other.most)};
    };
  }
  return schedule;
}

}  // namespace muster
