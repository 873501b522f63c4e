#include "runtime/train/restore.h"

#include <algorithm>

namespace muster {

RestorePlan DecideRestore(std::span<const std::int64_t> by_node, bool sharded) {
  const auto newest = std::max_element(by_node.begin(), by_node.end());
  if (newest == by_node.end() || *newest < 0) return {};
  const bool everywhere = std::count(by_node.begin(), by_node.end(), *newest) ==
                          static_cast<std::ptrdiff_t>(by_node.size());
  if (sharded && !everywhere) return {};
  return {.from = RestorePlan::From::kMemory,
          .step = static_cast<std::uint64_t>(*newest),
          .node = static_cast<std::uint32_t>(newest - by_node.begin()),
          .everywhere = everywhere};
}

}  // namespace muster
