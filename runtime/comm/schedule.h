// How a collective is made of sends and recvs: rounds of transfers, each begun when the one before
// has ended, with what the rank computes in between.
//
// Reductions are carried as they are and combined in the order of the ranks by whoever owns a
// slice, so their bits depend on the number of ranks alone.  Short ones go to all ranks in one
// round, long ones by slices (reduce-scatter, then all-gather: 2(n-1)/n of the bytes each way).
//
// Pure: plans over memory of the call, which outlives them.  Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/comm/collective.h"

namespace muster {

struct Transfer {
  int peer = 0;
  bool sends = false;  // Else it receives.
  std::byte* at = nullptr;
  std::size_t bytes = 0;
};

struct Round {
  std::vector<Transfer> transfers;
  std::function<void()> then;  // May be empty.
};

struct Schedule {
  std::vector<Round> rounds;
  std::vector<std::unique_ptr<std::byte[]>> scratch;

  std::byte* Scratch(std::size_t bytes);
};

// A long call is made of parts that may run side by side.
class CallPlan {
 public:
  static constexpr std::size_t kPartBytes = std::size_t{4} << 20U;
  // Below Open MPI's eager limit over TCP: a longer message asks for leave first, and both its
  // question and the answer stand in line behind the bytes that are on their way.
  static constexpr std::size_t kEagerBytes = std::size_t{48} << 10U;

  // `part_bytes`: at most so much goes from one rank to another in a part, whole elements.
  CallPlan(const Collective& call, int rank, int ranks, std::size_t part_bytes = kPartBytes);

  std::size_t parts() const;
  Schedule Part(std::size_t part) const;

 private:
  struct Range {
    std::size_t begin = 0, size = 0;
    std::size_t end() const { return begin + size; }
  };

  Range SliceOf(Range part, int rank) const;
  std::byte* In(int owner, std::size_t element) const;   // In the owner's part of `in`.
  std::byte* Out(int owner, std::size_t element) const;  // Likewise.
  void Sum(Schedule& schedule, Round& round, Range slice, std::byte* to) const;

  void Exchange(Schedule& schedule, Range part) const;  // all_gather, all_to_all.
  void Gather(Schedule& schedule, Range part) const;
  void Scatter(Schedule& schedule, Range part) const;
  void Broadcast(Schedule& schedule, Range part) const;
  void BroadcastTree(Schedule& schedule, Range part) const;
  void ReduceScatter(Schedule& schedule, Range part) const;
  void ReduceShort(Schedule& schedule, Range part) const;
  void ReduceLong(Schedule& schedule, Range part) const;

  const Collective call_;
  const int rank_, ranks_;
  const std::size_t size_;   // Bytes of an element.
  const std::size_t count_;  // Elements of the smaller side.
  const std::size_t each_;   // Elements of a part.
};

// The smallest and the largest hash of all ranks: 16 bytes a round, log2(ranks) rounds.
struct HashRange {
  std::uint64_t least = 0, most = 0;
};
Schedule SpreadHashes(HashRange& range, int rank, int ranks);

}  // namespace muster
