#include "launcher/placement/placement.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace muster
