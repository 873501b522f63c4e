#include "launcher/placement/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <tuple>

namespace muster {
namespace {

NodeView Idle(const std::string& name, std::uint32_t slots, const std::string& block = "") {
  NodeView node{.name = name, .block = block, .slots = slots};
  for (std::uint32_t slot = 0; slot < slots; ++slot) node.free_slots.push_back(slot);
  return node;
}

NodeView Busy(NodeView node, std::uint32_t used) {
  node.free_slots.erase(node.free_slots.begin(), node.free_slots.begin() + used);
  return node;
}

std::vector<std::string> Names(const Placement& placement) {
  std::vector<std::string> names;
  for (const Host& host : placement.hosts) names.push_back(host.node);
  return names;
}

using Strings = std::vector<std::string>;

TEST(Place, NumbersRanksAlongTheTopology) {
  const auto placement = Place({Idle("a", 4, "z"), Idle("b", 4, "y")}, {.nodes = 2});
  ASSERT_EQ(Names(placement), (Strings{"b", "a"}));
  EXPECT_EQ(placement.hosts[0].first_rank, 0U);
  EXPECT_EQ(placement.hosts[1].first_rank, 4U);
  EXPECT_EQ(placement.hosts[1].slots, (std::vector<std::uint32_t>{0, 1, 2, 3}));
}

TEST(Place, TakesTheNodesThatKeepTheFewestSlotsFree) {
  const std::vector<NodeView> nodes = {Idle("a", 8), Busy(Idle("b", 8), 5), Busy(Idle("c", 8), 4)};
  const auto placement = Place(nodes, {.nodes = 1, .ranks_per_node = 3});
  ASSERT_EQ(Names(placement), (Strings{"b"}));
  EXPECT_EQ(placement.hosts[0].slots, (std::vector<std::uint32_t>{5, 6, 7}));
}

TEST(Place, KeepsAJobInOneBlockWhenThatCanBe) {
  const std::vector<NodeView> nodes = {Busy(Idle("a", 8, "x"), 4), Idle("b", 8, "y"),
                                       Busy(Idle("c", 8, "x"), 6), Idle("d", 8, "y")};
  EXPECT_EQ(Names(Place(nodes, {.nodes = 2, .ranks_per_node = 4})), (Strings{"b", "d"}));
  EXPECT_EQ(Names(Place(nodes, {.nodes = 2, .ranks_per_node = 2})), (Strings{"a", "c"}));
  EXPECT_EQ(Names(Place(nodes, {.nodes = 3, .ranks_per_node = 4})), (Strings{"a", "b", "d"}));
}

TEST(Place, TakesNodesThatHaveTheDaemonFirst) {
  std::vector<NodeView> nodes = {Idle("a", 4), Idle("b", 4), Idle("c", 4)};
  nodes[2].preferred = true;
  EXPECT_EQ(Names(Place(nodes, {.nodes = 1})), (Strings{"c"}));
  EXPECT_EQ(Names(Place(nodes, {.nodes = 2})), (Strings{"a", "c"}));
}

TEST(Place, TakesOnlyWholeNodesOfOneSizeWhenNoRanksAreNamed) {
  const std::vector<NodeView> nodes = {Idle("a", 4), Idle("b", 8), Idle("c", 4),
                                       Busy(Idle("d", 8), 1)};
  EXPECT_EQ(Names(Place(nodes, {.nodes = 1})), (Strings{"b"}));
  EXPECT_EQ(Names(Place(nodes, {.nodes = 2})), (Strings{"a", "c"}));
}

TEST(Place, SaysOfEachNodeWhyItCannotHelp) {
  std::vector<NodeView> nodes = {Idle("a", 4), Busy(Idle("b", 4), 3), Idle("c", 2)};
  nodes.push_back({.name = "d", .slots = 4, .unusable = "is lost"});
  const auto placement = Place(nodes, {.nodes = 2, .ranks_per_node = 3});
  EXPECT_TRUE(placement.hosts.empty());
  EXPECT_FALSE(placement.refusal.never);
  EXPECT_EQ(placement.refusal.summary, "needs 2 nodes with 3 slots each; 1 of 4 fit now");
  EXPECT_EQ(placement.refusal.per_node,
            (Strings{"a: fits", "b: 1 of 4 slots is free", "c: has only 2 slots", "d: is lost"}));
}

TEST(Place, SaysNeverWhenNoIdleClusterCouldTakeTheJob) {
  std::vector<NodeView> nodes = {Idle("a", 4), {.name = "b", .slots = 4, .unusable = "is lost"}};
  EXPECT_FALSE(Place(nodes, {.nodes = 2, .ranks_per_node = 4}).refusal.never);
  EXPECT_TRUE(Place(nodes, {.nodes = 2, .ranks_per_node = 5}).refusal.never);
  EXPECT_TRUE(Place(nodes, {.nodes = 3}).refusal.never);
  EXPECT_EQ(Place(nodes, {.nodes = 3}).refusal.summary,
            "needs 3 nodes of one size; the cluster has 2 such");
}

TEST(Place, SaysWhatWouldFitInstead) {
  std::vector<NodeView> nodes = {Idle("a", 4), {.name = "b", .slots = 2, .unusable = "is lost"}};
  const auto summary = [&](const Wish& wish) { return Place(nodes, wish).refusal.summary; };
  EXPECT_EQ(summary({.nodes = 2, .ranks_per_node = 3}),
            "needs 2 nodes with 3 slots each; the cluster has 1 such; 2 nodes with 2 slots each "
            "would fit");
  EXPECT_EQ(summary({.nodes = 1, .ranks_per_node = 5}),
            "needs 1 node with 5 slots; the cluster has 0 such; 1 node with 4 slots would fit");
  EXPECT_EQ(summary({.nodes = 3, .ranks_per_node = 1}),
            "needs 3 nodes with 1 slot each; the cluster has 2 such; 2 nodes with 1 slot each "
            "would fit");
  EXPECT_EQ(Place(nodes, {.nodes = 2, .ranks_per_node = 3}).refusal.per_node,
            (Strings{"a: fits", "b: has only 2 slots"}));
}

// ---- against brute force ----------------------------------------------------------------------

// What placement promises to make small: daemons to start when enough of them are there already,
// then how far apart the nodes are, then the slots that stay free on them.
using Price = std::tuple<std::size_t, int, std::size_t>;

Price PriceOf(const std::vector<const NodeView*>& chosen, std::uint32_t ranks, bool known_suffice) {
  std::set<std::string> spines, leaves, blocks;
  std::size_t strangers = 0, left_free = 0;
  for (const NodeView* node : chosen) {
    spines.insert(node->spine);
    leaves.insert(node->spine + "/" + node->leaf);
    blocks.insert(node->spine + "/" + node->leaf + "/" + node->block);
    strangers += node->preferred ? 0 : 1;
    left_free += node->free_slots.size() - ranks;
  }
  const int distance = blocks.size() == 1 ? 0 : leaves.size() == 1 ? 1 : spines.size() == 1 ? 2 : 3;
  return {known_suffice ? strangers : 0, distance, left_free};
}

std::optional<Price> Cheapest(const std::vector<NodeView>& nodes, const Wish& wish, bool known) {
  std::optional<Price> best;
  for (std::uint32_t set = 0; set < 1U << nodes.size(); ++set) {
    std::vector<const NodeView*> chosen;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if ((set >> i & 1U) != 0) chosen.push_back(&nodes[i]);
    }
    const bool fits = std::all_of(chosen.begin(), chosen.end(), [&](const NodeView* node) {
      return node->unusable.empty() && node->free_slots.size() >= wish.ranks_per_node;
    });
    if (chosen.size() != wish.nodes || !fits) continue;
    const Price price = PriceOf(chosen, wish.ranks_per_node, known);
    if (!best || price < *best) best = price;
  }
  return best;
}

TEST(Place, IsAsGoodAsTryingEverySetOfNodes) {
  std::mt19937 random(20261122);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  int placed = 0, refused = 0, fewer = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<NodeView> nodes;
    const std::uint32_t count = 1 + below(7);
    Wish wish{.nodes = 1 + below(4), .ranks_per_node = 1 + below(4)};
    const std::uint32_t most = wish.nodes;
    if (below(3) == 0) wish.min_nodes = 1 + below(wish.nodes);
    const bool any_preferred = below(2) == 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      NodeView node = Busy(Idle("n" + std::to_string(i), 4), below(5));
      node.spine = below(2) == 0 ? "s1" : "s2";
      node.leaf = below(2) == 0 ? "l1" : "l2";
      node.block = below(2) == 0 ? "b1" : "b2";
      node.preferred = any_preferred && below(2) == 0;
      if (below(6) == 0) node.unusable = "is lost";
      nodes.push_back(node);
    }
    const auto usable = [&](const NodeView& node) {
      return node.preferred && node.unusable.empty() &&
             node.free_slots.size() >= wish.ranks_per_node;
    };
    const Placement placement = Place(nodes, wish);
    // As many nodes as there are, down to the least.
    const std::uint32_t least = wish.min_nodes == 0 ? wish.nodes : wish.min_nodes;
    bool known = false;
    std::optional<Price> best;
    for (; wish.nodes >= least && !best; --wish.nodes) {
      known = std::count_if(nodes.begin(), nodes.end(), usable) >= wish.nodes;
      best = Cheapest(nodes, wish, known);
      if (best) {
        EXPECT_EQ(placement.hosts.size(), wish.nodes) << "round " << round;
      }
      fewer += best && placement.hosts.size() < most ? 1 : 0;
    }
    ASSERT_EQ(placement.hosts.empty(), !best.has_value()) << "round " << round;
    (best ? placed : refused) += 1;
    if (!best) {
      EXPECT_EQ(placement.refusal.per_node.size(), nodes.size());
      continue;
    }
    std::vector<const NodeView*> chosen;
    std::uint32_t next_rank = 0;
    for (const Host& host : placement.hosts) {
      EXPECT_EQ(host.first_rank, next_rank);
      EXPECT_EQ(host.slots.size(), wish.ranks_per_node);
      next_rank += wish.ranks_per_node;
      chosen.push_back(&*std::find_if(nodes.begin(), nodes.end(),
                                      [&](const NodeView& n) { return n.name == host.node; }));
      for (const std::uint32_t slot : host.slots) {
        const auto& free = chosen.back()->free_slots;
        EXPECT_NE(std::find(free.begin(), free.end(), slot), free.end());
      }
    }
    const Price price = PriceOf(chosen, wish.ranks_per_node, known);
    // Preferred nodes come first within a level, so slots left free count only without them.
    if (!any_preferred) {
      EXPECT_EQ(price, *best) << "round " << round;
    }
    EXPECT_EQ(std::get<0>(price), std::get<0>(*best)) << "round " << round;
    EXPECT_EQ(std::get<1>(price), std::get<1>(*best)) << "round " << round;
  }
  EXPECT_GT(placed, 500);
  EXPECT_GT(refused, 500);
  EXPECT_GT(fewer, 50);
}

}  // namespace
}  // namespace muster
