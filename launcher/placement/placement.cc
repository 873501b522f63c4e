#include "launcher/placement/placement.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace muster {
namespace {

using Nodes = std::vector<const NodeView*>;

auto Topology(const NodeView& node) {
  return std::tie(node.spine, node.leaf, node.block, node.name);
}

// The ranks that a node would get; 0 when it cannot help now.
std::uint32_t RanksNow(const NodeView& node, const Wish& wish) {
  if (!node.unusable.empty()) return 0;
  if (wish.ranks_per_node == 0) return node.free_slots.size() == node.slots ? node.slots : 0;
  return node.free_slots.size() >= wish.ranks_per_node ? wish.ranks_per_node : 0;
}

std::string Count(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// The best `count` of one group: preferred ones, then those that keep the fewest slots free.
struct Choice {
  Nodes nodes;
  std::size_t strangers = 0, left_free = 0;
};

Choice Best(Nodes group, std::size_t count, std::uint32_t ranks) {
  std::sort(group.begin(), group.end(), [](const NodeView* a, const NodeView* b) {
    return std::make_tuple(!a->preferred, a->free_slots.size(), Topology(*a)) <
           std::make_tuple(!b->preferred, b->free_slots.size(), Topology(*b));
  });
  group.resize(count);
  Choice choice;
  for (const NodeView* node : group) {
    choice.strangers += node->preferred ? 0 : 1;
    choice.left_free += node->free_slots.size() - ranks;
  }
  choice.nodes = std::move(group);
  return choice;
}

// Of the groups at one level of the network that are large enough, the best one's best nodes.
std::optional<Choice> BestOfLevel(const Nodes& fitting, std::size_t count, std::uint32_t ranks,
                                  int level) {
  std::map<std::vector<std::string>, Nodes> groups;
  for (const NodeView* node : fitting) {
    std::vector<std::string> key = {node->spine, node->leaf, node->block};
    key.resize(static_cast<std::size_t>(level));
    groups[key].push_back(node);
  }
  std::optional<Choice> best;
  for (const auto& [key, group] : groups) {
    if (group.size() < count) continue;
    Choice choice = Best(group, count, ranks);
    if (!best ||
        std::tie(choice.strangers, choice.left_free) < std::tie(best->strangers, best->left_free)) {
      best = std::move(choice);
    }
  }
  return best;
}

// Within one block if that can be, else one leaf, one spine, anywhere; but nodes that have the
// job's daemon already come before all that when there are enough of them.
Nodes Choose(const Nodes& fitting, std::size_t count, std::uint32_t ranks) {
  Nodes known;
  std::copy_if(fitting.begin(), fitting.end(), std::back_inserter(known),
               [](const NodeView* node) { return node->preferred; });
  const Nodes& from = known.size() >= count ? known : fitting;
  for (int level = 3; level >= 0; --level) {
    if (auto choice = BestOfLevel(from, count, ranks, level)) return choice->nodes;
  }
  return {};
}

std::string WhyNot(const NodeView& node, const Wish& wish) {
  const std::size_t need = wish.ranks_per_node == 0 ? node.slots : wish.ranks_per_node;
  if (node.slots < need || node.slots == 0) {
    return node.name + ": has only " + Count(node.slots, "slot");
  }
  if (!node.unusable.empty()) return node.name + ": " + node.unusable;
  const std::size_t free = node.free_slots.size();
  if (free < need) {
    return node.name + ": " + std::to_string(free) + " of " + Count(node.slots, "slot") +
           (free == 1 ? " is free" : " are free");
  }
  return node.name + ": fits";
}

// Nodes that would help if they were idle and in use, by the ranks that each would get.
std::map<std::uint32_t, std::size_t> Capable(const std::vector<NodeView>& nodes, const Wish& wish) {
  std::map<std::uint32_t, std::size_t> capable;
  for (const NodeView& node : nodes) {
    const std::uint32_t ranks = wish.ranks_per_node == 0 ? node.slots : wish.ranks_per_node;
    if (ranks > 0 && node.slots >= ranks) ++capable[ranks];
  }
  return capable;
}

std::uint32_t Least(const Wish& wish) {
  return wish.min_nodes == 0 ? wish.nodes : std::min(wish.min_nodes, wish.nodes);
}

std::string NodesWanted(const Wish& wish) {
  const std::string most = Count(wish.nodes, "node");
  return Least(wish) < wish.nodes ? std::to_string(Least(wish)) + " to " + most : most;
}

// As many nodes, or all, with the slots that each of them has.
std::string WouldFit(const std::vector<NodeView>& nodes, const Wish& wish) {
  std::vector<std::uint32_t> slots;
  for (const NodeView& node : nodes) {
    if (node.slots > 0) slots.push_back(node.slots);
  }
  if (slots.empty() || wish.nodes == 0 || wish.ranks_per_node == 0) return "";
  std::sort(slots.rbegin(), slots.rend());
  const std::size_t count = std::min<std::size_t>(Least(wish), slots.size());
  const std::uint32_t each = std::min(slots[count - 1], wish.ranks_per_node);
  return "; " + Count(count, "node") + " with " + Count(each, "slot") +
         (count == 1 ? "" : " each") + " would fit";
}

Refusal Refuse(const std::vector<NodeView>& nodes, const Wish& wish, std::size_t fit_now) {
  Refusal refusal;
  std::size_t most = 0;
  for (const auto& [ranks, count] : Capable(nodes, wish)) most = std::max(most, count);
  refusal.never = wish.nodes == 0 || most < Least(wish);
  const std::string each =
      wish.ranks_per_node == 0
          ? (wish.nodes == 1 ? "with all its slots" : "of one size")
          : "with " + Count(wish.ranks_per_node, "slot") + (wish.nodes == 1 ? "" : " each");
  refusal.summary =
      "needs " + NodesWanted(wish) + " " + each + "; " +
      (refusal.never
           ? "the cluster has " + std::to_string(most) + " such" + WouldFit(nodes, wish)
           : std::to_string(fit_now) + " of " + std::to_string(nodes.size()) + " fit now");
  for (const NodeView& node : nodes) refusal.per_node.push_back(WhyNot(node, wish));
  return refusal;
}

std::vector<Host> Assign(Nodes chosen, std::uint32_t ranks) {
  std::sort(chosen.begin(), chosen.end(),
            [](const NodeView* a, const NodeView* b) { return Topology(*a) < Topology(*b); });
  std::vector<Host> hosts;
  for (const NodeView* node : chosen) {
    Host host{.node = node->name,
              .addresses = node->addresses,
              .first_rank = static_cast<std::uint32_t>(hosts.size()) * ranks};
    host.slots.assign(node->free_slots.begin(), node->free_slots.begin() + ranks);
    hosts.push_back(std::move(host));
  }
  return hosts;
}

}  // namespace

Placement Place(const std::vector<NodeView>& nodes, const Wish& wish) {
  std::map<std::uint32_t, Nodes, std::greater<>> fitting;  // Large nodes first.
  std::size_t fit_now = 0;
  for (const NodeView& node : nodes) {
    const std::uint32_t ranks = RanksNow(node, wish);
    if (ranks > 0)
      fit_now = std::max(fit_now, (fitting[ranks].push_back(&node), fitting[ranks].size()));
  }
  const std::size_t count = std::min<std::size_t>(fit_now, wish.nodes);
  for (const auto& [ranks, group] : fitting) {
    if (count == 0 || count < Least(wish) || group.size() < count) continue;
    return {.hosts = Assign(Choose(group, count, ranks), ranks)};
  }
  return {.refusal = Refuse(nodes, wish, fit_now)};
}

}  // namespace muster
