// Where an attempt goes on from.  Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace muster {

// What one rank found in its node's memory: the steps completed in a whole state of this very run,
// or -1.
struct RestorePlan {
  enum class From { kMemory, kCommitOrStart };
  From from = From::kCommitOrStart;
  std::uint64_t step = 0;   // Of the memory.
  std::uint32_t node = 0;   // Which gives it to the nodes that lack it.
  bool everywhere = false;  // No node lacks it.
  bool operator==(const RestorePlan&) const = default;
};

// by_node[n]: what node n's memory holds.  The newest whole state wins, on the lowest node.
// `sharded`: no node can give another what it lacks (ZeRO-1), so all have it or it does not count.
RestorePlan DecideRestore(std::span<const std::int64_t> by_node, bool sharded = false);

}  // namespace muster
