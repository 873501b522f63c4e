// Which node keeps which part of the optimizer's state (ZeRO-1; Rajbhandari et al. 2020, P_os).
//
// Shards are whole buckets in the order of the layout, the same number for every node but for one:
// equal bytes, wherever tensors begin.  Inside a node the shard is shared memory, each lane works
// on its own buckets of it.  Not sharded, every node has everything.  Pure values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/train/layout.h"

namespace muster {

class Shards {
 public:
  Shards(const Layout& layout, std::uint32_t nodes, bool sharded)
      : layout_(layout), nodes_(nodes), sharded_(sharded && nodes > 1) {}

  bool sharded() const { return sharded_; }
  bool Owns(std::uint32_t node, std::size_t bucket) const {
    return !sharded_ || (bucket >= First(node) && bucket < First(node + 1));
  }
  // Elements of the flat vectors.
  Range Of(std::uint32_t node) const {
    if (!sharded_) return {.begin = 0, .end = layout_.elements()};
    return {.begin = Begin(First(node)), .end = Begin(First(node + 1))};
  }

 private:
  std::size_t First(std::uint32_t node) const { return layout_.buckets() * node / nodes_; }
  std::size_t Begin(std::size_t bucket) const {
    return bucket < layout_.buckets() ? layout_.Bucket(bucket).begin : layout_.elements();
  }

  const Layout& layout_;
  std::uint32_t nodes_;
  bool sharded_;
};

}  // namespace muster
