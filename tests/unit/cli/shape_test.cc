#include "launcher/cli/shape.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using Slots = std::vector<std::uint32_t>;

std::vector<ClusterNode> Cluster(const Slots& slots) {
  std::vector<ClusterNode> nodes;
  for (const std::uint32_t count : slots) nodes.push_back({.name = "n", .slots = count});
  return nodes;
}

Shape Of(const ShapeWish& wish, const Slots& cluster = {}) {
  const auto shape = ShapeOf(wish, Cluster(cluster));
  EXPECT_TRUE(shape.ok()) << shape.status().message();
  return shape.ok() ? *shape : Shape{.nodes = 0};
}

std::string Refusal(const ShapeWish& wish, const Slots& cluster = {}) {
  const auto shape = ShapeOf(wish, Cluster(cluster));
  EXPECT_FALSE(shape.ok());
  return shape.status().message();
}

TEST(Shape, TakesAsFewNodesAsCanHoldTheRanksEvenly) {
  EXPECT_EQ(Of({.ranks = 8}, {8, 8}), (Shape{1, 8}));
  EXPECT_EQ(Of({.ranks = 16}, {8, 8, 8}), (Shape{2, 8}));
  EXPECT_EQ(Of({.ranks = 10}, {8, 8}), (Shape{2, 5}));
  EXPECT_EQ(Of({.ranks = 12}, {4, 8, 4}), (Shape{3, 4}));  // Two with six each there are not.
  EXPECT_EQ(Of({.ranks = 3}, {1, 1, 1, 1}), (Shape{3, 1}));
}

TEST(Shape, SpreadsOverAsManyAsThereAre) {
  EXPECT_EQ(Of({.ranks = 8, .spread = true}, {8, 8}), (Shape{2, 4}));
  EXPECT_EQ(Of({.ranks = 2, .spread = true}, {8, 8, 8}), (Shape{2, 1}));
  EXPECT_EQ(Of({.ranks = 4, .spread = true}), (Shape{1, 4}));
}

TEST(Shape, SaysWhatThereIsWhenNothingFits) {
  EXPECT_EQ(Refusal({.ranks = 11}, {8, 8, 4}),
            "11 ranks do not fit with as many on each node: there are 3 nodes with 8, 8, 4 slots");
  EXPECT_NE(Refusal({.ranks = 17}, {8, 8}).find("17 ranks do not fit"), std::string::npos);
}

TEST(Shape, CountsNoNodeThatIsOutOfUse) {
  auto nodes = Cluster({8, 8});
  nodes[0].lost = true;
  EXPECT_FALSE(ShapeOf({.ranks = 16}, nodes).ok());
  nodes[0].lost = false;
  nodes[1].drained = "bad fan";
  EXPECT_FALSE(ShapeOf({.ranks = 16}, nodes).ok());
  EXPECT_EQ(*ShapeOf({.ranks = 8}, nodes), (Shape{1, 8}));
}

TEST(Shape, FollowsNamedHosts) {
  const auto named = [](std::uint32_t ranks, const Slots& hosts) {
    return ShapeWish{.ranks = ranks, .hosts_named = true, .hosts = hosts};
  };
  EXPECT_EQ(Of(named(8, {4, 4})), (Shape{2, 4}));
  EXPECT_EQ(Of(named(6, {4, 4})), (Shape{2, 3}));
  EXPECT_EQ(Of(named(4, {4, 4})), (Shape{1, 4}));
  EXPECT_EQ(Of(named(2, {1, 1})), (Shape{2, 1}));
  EXPECT_EQ(Of(named(8, {1, 1})), (Shape{2, 4}));  // As with --oversubscribe.
  EXPECT_EQ(Of(named(0, {4, 4, 4})), (Shape{3, 4}));
  EXPECT_NE(Refusal(named(3, {2, 2})).find("2 nodes with 2, 2 slots"), std::string::npos);
  EXPECT_NE(Refusal(named(0, {4, 2})).find("say -np"), std::string::npos);
  EXPECT_NE(Refusal({.ranks = 12, .ranks_per_node = 4, .hosts_named = true, .hosts = {4, 4}})
                .find("need 3 nodes; named are 2 nodes"),
            std::string::npos);
}

TEST(Hosts, AreReadFromAList) {
  EXPECT_EQ(*ParseHostList("h1:4,h2:2"), (Slots{4, 2}));
  EXPECT_EQ(*ParseHostList("h1,h2,h1"), (Slots{2, 1}));
  EXPECT_EQ(*ParseHostList("localhost"), (Slots{1}));
  EXPECT_EQ(*ParseHostList("h1:*"), (Slots{0}));
  for (const char* wrong : {"", "h1,", ":4", "h1:x", "h1:0", "h1:-1"}) {
    EXPECT_FALSE(ParseHostList(wrong).ok()) << wrong;
  }
}

TEST(Hosts, AreReadFromAFile) {
  EXPECT_EQ(*ParseHostfile("# two\nnode1 slots=8 max_slots=8\n\nnode2   slots = 4 # old\r\n"),
            (Slots{8, 4}));
  EXPECT_EQ(*ParseHostfile("node1:8\nnode2:8\n"), (Slots{8, 8}));
  EXPECT_EQ(*ParseHostfile("a\na\nb\n"), (Slots{2, 1}));
  EXPECT_FALSE(ParseHostfile("# none\n").ok());
  EXPECT_FALSE(ParseHostfile("a slots=many\n").ok());
}

TEST(LocalRanks, AreRanksOnceANodesRanksAreKnown) {
  EXPECT_EQ(RanksWith({0, 3}, {.nodes = 2, .ranks_per_node = 4}), (Slots{0, 3, 4, 7}));
  EXPECT_EQ(RanksWith({}, {.nodes = 2, .ranks_per_node = 4}), Slots());
  EXPECT_EQ(RanksWith({0}, {.nodes = 2, .ranks_per_node = 0}), Slots());
}

}  // namespace
}  // namespace muster
