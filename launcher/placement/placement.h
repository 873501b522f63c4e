// Where the ranks of a job go.
//
// Place() is pure: all or none, on as many of the wished nodes as fit, ranks in the order of the
// topology, and for each node that cannot help one sentence that says why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/orders.h"

namespace muster {

// One node as placement sees it.
struct NodeView {
  NodeName name;
  std::vector<std::string> addresses;
  std::string block, leaf, spine;         // Empty: unknown; sorts first.
  std::uint32_t slots = 0;                // In all.
  std::vector<std::uint32_t> free_slots;  // Ascending.
  std::string unusable;    // Why not at all ("lost", "drained: bad fan"); empty: usable.
  bool preferred = false;  // Taken before others: the job's daemon is there already.
};

struct Wish {
  std::uint32_t nodes = 1;
  std::uint32_t ranks_per_node =
      0;                        // 0: all slots of a node (every chosen node then has equally many).
  std::uint32_t min_nodes = 0;  // Fewer than `nodes` will do, but not fewer than these; 0: nodes.
};

struct Refusal {
  bool never = false;   // No idle cluster of these nodes could take the job: the user's mistake.
  std::string summary;  // "needs 3 nodes with 8 slots; 2 of 4 fit now"
  std::vector<std::string> per_node;  // "n1: 3 of 8 slots are free"
};

struct Placement {
  std::vector<Host> hosts;  // Empty when refused.
  Refusal refusal;
};

Placement Place(const std::vector<NodeView>& nodes, const Wish& wish);

}  // namespace muster
