#include "runtime/train/layout.h"

#include <gtest/gtest.h>

#include "runtime/train/arena.h"
#include "runtime/train/topology.h"

namespace muster {
namespace {

const std::vector<TensorSpec> kTensors = {{.name = "first", .shape = {300, 256}, .decay = true},
                                          {.name = "odd", .shape = {5}},
                                          {.name = "last", .shape = {7, 3}, .decay = true}};

TEST(Layout, LaysTensorsInReverseOrderOfUseOnCacheLines) {
  const Layout layout(kTensors);
  EXPECT_EQ(layout.offset(2), 0U);
  EXPECT_EQ(layout.offset(1), 32U);
  EXPECT_EQ(layout.offset(0), 48U);
  EXPECT_EQ(layout.elements(), 48U + 300 * 256);
}

TEST(Layout, BucketsTileTheVectorAndTheLastHasTheTail) {
  const Layout layout(kTensors);
  ASSERT_EQ(layout.buckets(), 10U);
  EXPECT_EQ(layout.Bucket(0), (Range{0, 8192}));
  EXPECT_EQ(layout.Bucket(9), (Range{std::size_t{9} * 8192, layout.elements()}));
  EXPECT_EQ(layout.GradientBucket(0), layout.Bucket(0));
  EXPECT_EQ(layout.GradientBucket(9).end, layout.gradient_elements());
}

TEST(Layout, BucketsAreShortWhereTheVectorIs) {
  struct Case {
    std::uint64_t elements;
    std::size_t each, buckets;
  };
  for (const Case& c : {Case{16, 1024, 1},
                        {16384, 1024, 16},
                        {16400, 2048, 9},
                        {1 << 20, 65536, 16},
                        {(1 << 24) + 16, 65536, 257}}) {
    const Layout layout({{.name = "x", .shape = {c.elements}}});
    EXPECT_EQ(layout.bucket_elements(), c.each) << c.elements;
    EXPECT_EQ(layout.buckets(), c.buckets) << c.elements;
  }
}

TEST(Layout, PiecesLeaveOutThePaddingAndKnowTheirDecay) {
  const auto pieces = Layout(kTensors).Pieces({10, 100});
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0].range, (Range{10, 21}));
  EXPECT_TRUE(pieces[0].decay);
  EXPECT_EQ(pieces[1].range, (Range{32, 37}));
  EXPECT_FALSE(pieces[1].decay);
  EXPECT_EQ(pieces[2].range, (Range{48, 100}));
}

TEST(Topology, OrdersRanksByNodeEvenIfTheLauncherScatteredThem) {
  const Place places[] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
  const auto topology = Topology::Make(places, 2, 16);
  ASSERT_TRUE(topology.ok());
  EXPECT_EQ(topology->RunOfNode(0), (MicroBatches{0, 8}));
  EXPECT_EQ(topology->RunOfLocal(0, 1), (MicroBatches{4, 8}));
  EXPECT_EQ(topology->RankAt(1, 1), 3);
  EXPECT_EQ(topology->lanes(), 2U);
}

TEST(Topology, NodesMayHaveUnequalNumbersOfRanks) {
  const Place places[] = {{0, 0}, {0, 1}, {0, 2}, {1, 0}};
  const auto topology = Topology::Make(places, 3, 7);
  ASSERT_TRUE(topology.ok());
  EXPECT_EQ(topology->lanes(), 1U);
  EXPECT_EQ(topology->RunOfNode(0), (MicroBatches{0, 6}));
  EXPECT_EQ(topology->RunOfNode(1), (MicroBatches{6, 7}));
}

TEST(Topology, RefusesFewerMicroBatchesThanRanksAndImpossiblePlaces) {
  const Place three[] = {{0, 0}, {0, 1}, {0, 2}};
  EXPECT_NE(Topology::Make(three, 0, 2).status().message().find("2 micro-batches for 3 ranks"),
            std::string::npos);
  const Place twice[] = {{0, 0}, {0, 0}};
  EXPECT_EQ(Topology::Make(twice, 0, 16).status().code(), Code::kInvalid);
  const Place hole[] = {{0, 0}, {0, 2}, {0, 3}, {0, 1}, {2, 0}};
  EXPECT_EQ(Topology::Make(hole, 0, 16).status().code(), Code::kInvalid);
}

TEST(StateWord, SurvivesItsRoundTrip) {
  const StateWord word{.kind = StateWord::Kind::kUpdating, .step = 123456789012};
  EXPECT_EQ(StateWord::Decode(word.Encode()), word);
  EXPECT_EQ(StateWord::Decode(0).kind, StateWord::Kind::kNone);
}

}  // namespace
}  // namespace muster
