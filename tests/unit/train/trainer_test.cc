#include "runtime/train/trainer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/train/cluster.h"

namespace muster {
namespace {

const TrainOptions kOptions{.steps = 5, .optimizer = {.warmup_steps = 2}};

TEST(Trainer, AnyNumberOfRanksAndNodesGivesTheSameBits) {
  const Cluster::End alone = Cluster(1, 1).Train(kOptions);
  ASSERT_TRUE(alone.status.ok());
  EXPECT_EQ(alone.step, 5U);
  const std::pair<int, int> shapes[] = {{1, 2}, {1, 3}, {2, 1},  {2, 2}, {2, 3}, {3, 1}, {3, 2},
                                        {5, 1}, {7, 1}, {1, 16}, {2, 8}, {4, 4}, {16, 1}};
  for (const auto& [nodes, per_node] : shapes) {
    const Cluster::End end = Cluster(nodes, per_node).Train(kOptions);
    ASSERT_TRUE(end.status.ok()) << end.status.message();
    EXPECT_EQ(std::memcmp(end.parameters.data(), alone.parameters.data(),
                          alone.parameters.size() * sizeof(float)),
              0)
        << nodes << " x " << per_node;
    EXPECT_EQ(end.loss_ema, alone.loss_ema);
  }
}

TEST(Trainer, GoesOnFromMemoryWithTheSameBits) {
  const Cluster::End undisturbed = Cluster(1, 1).Train(kOptions);
  Cluster cluster(2, 2);
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  EXPECT_TRUE(cluster.Train(cut).stopped);
  cluster.attempt = 1;
  const Cluster::End end = cluster.Train(kOptions);
  ASSERT_FALSE(end.said.empty());
  EXPECT_EQ(end.said[0], "restored step 3 from memory");
  EXPECT_EQ(end.parameters, undisturbed.parameters);
  EXPECT_EQ(end.loss_ema, undisturbed.loss_ema);
}

TEST(Trainer, AnotherNumberOfRanksGoesOnFromTheSameMemory) {
  const Cluster::End undisturbed = Cluster(1, 1).Train(kOptions);
  Cluster cluster(2, 2);
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  cluster.Train(cut);
  cluster.attempt = 1;
  cluster.per_node = 3;
  const Cluster::End end = cluster.Train(kOptions);
  EXPECT_EQ(end.said.at(0), "restored step 3 from memory");
  EXPECT_EQ(end.parameters, undisturbed.parameters);
}

TEST(Trainer, ANodeThatLostItsMemoryGetsTheStateFromAnother) {
  const Cluster::End undisturbed = Cluster(1, 1).Train(kOptions);
  for (const std::size_t lost : {0U, 1U}) {
    Cluster cluster(2, 2);
    TrainOptions cut = kOptions;
    cut.stop_after = 3;
    cluster.Train(cut);
    // Zeros, as a new job daemon hands out.
    auto state = cluster.memories[lost].Get("state", 1);
    ASSERT_TRUE(state.ok());
    const Layout layout(Chaos().Tensors());
    const std::size_t bytes = StateView::Bytes(layout, {0, layout.elements()});
    std::memset(state->bytes.data(), 0, bytes);
    cluster.attempt = 1;
    const Cluster::End end = cluster.Train(kOptions);
    EXPECT_EQ(end.parameters, undisturbed.parameters);
    EXPECT_EQ(end.said.at(0), "restored step 3 from memory");
  }
}

TEST(Trainer, AStateThatWasBeingUpdatedIsNotTrusted) {
  checkpoint::CommitStore store(1);
  Cluster cluster(1, 2);
  cluster.store = &store;
  TrainOptions cut = kOptions;
  cut.checkpoint_every = 2;
  cut.stop_after = 2;
  cluster.Train(cut);
  auto state = cluster.memories[0].Get("state", 1);
  reinterpret_cast<StateHeader*>(state->bytes.data())->Set(StateWord::Kind::kUpdating, 2);
  cluster.attempt = 1;
  const Cluster::End end = cluster.Train(kOptions);
  EXPECT_EQ(end.said.at(0), "restored step 2 from a commit");
  EXPECT_EQ(end.parameters, Cluster(1, 1).Train(kOptions).parameters);
}

TEST(Trainer, ARankThatDiesWhileGradientsTravelLeavesTheMemoryWhole) {
  Cluster cluster(2, 2);
  cluster.dying_rank = 3;
  cluster.dies_after = 2;
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  const auto ends = cluster.TrainAll(cut);
  EXPECT_TRUE(ends[0].status.ok()) << ends[0].status.message();  // Its node has all it needs.
  EXPECT_EQ(ends[2].status.code(), Code::kDeadline);
  EXPECT_EQ(ends[3].status.code(), Code::kUnavailable);
  EXPECT_EQ(cluster.WordOf(0), (StateWord{.kind = StateWord::Kind::kStable, .step = 3}));
  EXPECT_EQ(cluster.WordOf(1), (StateWord{.kind = StateWord::Kind::kStable, .step = 2}));
  cluster.dying_rank = -1;
  cluster.attempt = 1;
  const Cluster::End end = cluster.Train(kOptions);
  EXPECT_EQ(end.said.at(0), "restored step 3 from memory");
  EXPECT_EQ(end.parameters, Cluster(1, 1).Train(kOptions).parameters);
}

TEST(Trainer, OneRankWithoutMemoryStopsAllAndIsNamed) {
  Cluster cluster(2, 2);
  cluster.rank_without_memory = 2;
  const auto ends = cluster.TrainAll(kOptions);
  EXPECT_EQ(ends[2].status.code(), Code::kExhausted);
  for (const std::size_t rank : {0U, 1U, 3U}) {
    EXPECT_EQ(ends[rank].status.code(), Code::kAborted);
    EXPECT_EQ(ends[rank].status.message(), "rank 2 could not start");
  }
}

TEST(Trainer, GoesOnFromACommitInsteadOfAWholeMemoryIfToldTo) {
  checkpoint::CommitStore store(2);
  Cluster cluster(2, 2);
  cluster.store = &store;
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  cluster.Train(cut);
  cluster.attempt = 1;
  TrainOptions from_commit = kOptions;
  from_commit.from_memory = false;
  const Cluster::End end = cluster.Train(from_commit);
  EXPECT_EQ(end.said.at(0), "restored step 3 from a commit");
  EXPECT_EQ(end.parameters, Cluster(1, 1).Train(kOptions).parameters);
}

TEST(Trainer, TheFirstNodeAloneCanSaveEverything) {
  checkpoint::CommitStore store(1);
  Cluster before(3, 2);
  before.store = &store;
  TrainOptions cut = kOptions;
  cut.first_node_saves = true;
  cut.checkpoint_every = 2;
  cut.stop_after = 3;
  ASSERT_TRUE(before.Train(cut).status.ok());
  EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{2, 3}));
  Cluster after(2, 2);
  after.store = &store;
  TrainOptions rest = kOptions;
  rest.first_node_saves = true;
  const Cluster::End end = after.Train(rest);
  EXPECT_EQ(end.said.at(0), "restored step 3 from a commit");
  EXPECT_EQ(end.parameters, Cluster(1, 1).Train(kOptions).parameters);
}

TEST(Trainer, ACommitOfOneShapeIsContinuedByAnotherWithTheSameBits) {
  const Cluster::End undisturbed = Cluster(1, 1).Train(kOptions);
  checkpoint::CommitStore store(3);
  Cluster before(3, 2);
  before.store = &store;
  TrainOptions cut = kOptions;
  cut.checkpoint_every = 2;
  cut.stop_after = 3;
  ASSERT_TRUE(before.Train(cut).status.ok());
  EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{2, 3}));
  Cluster after(1, 5);
  after.store = &store;
  const Cluster::End end = after.Train(kOptions);
  EXPECT_EQ(end.said.at(0), "restored step 3 from a commit");
  EXPECT_EQ(end.parameters, undisturbed.parameters);
  EXPECT_EQ(end.loss_ema, undisturbed.loss_ema);
}

TEST(Trainer, NodesReadACommitOnceTogetherHoweverManyTheyAre) {
  const Cluster::End undisturbed = Cluster(1, 1).Train(kOptions);
  for (const bool zero1 : {false, true}) {
    for (const int nodes : {2, 4, 8}) {
      checkpoint::CommitStore store(2);
      Cluster before(2, 1);
      before.store = &store;
      TrainOptions cut = kOptions;
      cut.stop_after = 3;
      ASSERT_TRUE(before.Train(cut).status.ok());
      Cluster after(nodes, 1);
      after.store = &store;
      TrainOptions rest = kOptions;
      rest.zero1 = zero1;
      const std::uint64_t checkpoint = store.bytes_of_newest();
      const Cluster::End end = after.Train(rest);
      EXPECT_EQ(end.said.at(0), "restored step 3 from a commit");
      EXPECT_EQ(end.parameters, undisturbed.parameters);
      EXPECT_EQ(store.bytes_read(), checkpoint) << nodes << " nodes";
    }
  }
}

// A store that takes no more: two saves lie in the two memories, the others are skipped and said,
// and the last one is saved once there is room.
TEST(Trainer, ASaveThatFindsBothMemoriesInUseIsSkippedAndTrainingGoesOn) {
  checkpoint::CommitStore store(2);
  Cluster cluster(2, 2);
  cluster.store = &store;
  cluster.answers_after_skips = 2;
  TrainOptions options = kOptions;
  options.checkpoint_every = 1;
  options.skip_busy_saves = true;
  const Cluster::End end = cluster.Train(options);
  ASSERT_TRUE(end.status.ok()) << end.status.message();
  EXPECT_EQ(end.parameters, Cluster(1, 1).Train(kOptions).parameters);
  EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{1, 2, 5}));
  const auto said = [&](const std::string& line) {
    return std::count(end.said.begin(), end.said.end(), line);
  };
  EXPECT_EQ(said("checkpoint of step 3 is NOT committed: skipped"), 1);
  EXPECT_EQ(said("checkpoint of step 4 is NOT committed: skipped"), 1);
  EXPECT_EQ(said("checkpoint of step 5 is committed"), 1);
}

TEST(Trainer, ANodeThatCannotReadTheCommitEndsAllAndNobodyWaitsForIt) {
  checkpoint::CommitStore store(1);
  Cluster before(1, 1);
  before.store = &store;
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  ASSERT_TRUE(before.Train(cut).status.ok());
  Cluster after(3, 1);
  after.store = &store;
  after.node_that_reads_nothing = 1;
  const auto ends = after.TrainAll(kOptions);
  for (const Cluster::End& end : ends) EXPECT_FALSE(end.status.ok());
  EXPECT_NE(ends[1].status.message().find("CRC-32C does not hold"), std::string::npos);
  EXPECT_NE(ends[0].status.message().find("node 1 could not read MiB"), std::string::npos)
      << ends[0].status.message();
}

TEST(Trainer, ANodeWhoseStoreStandsStillIsNamedWithWhatItWasToRead) {
  checkpoint::CommitStore store(1);
  Cluster before(1, 1);
  before.store = &store;
  TrainOptions cut = kOptions;
  cut.stop_after = 3;
  ASSERT_TRUE(before.Train(cut).status.ok());
  Cluster after(2, 1);
  after.store = &store;
  after.impatient = true;
  after.node_that_hangs = 1;
  const auto ends = after.TrainAll(kOptions);
  EXPECT_EQ(ends[0].status.code(), Code::kDeadline);
  const std::string told = ends[0].status.message();
  EXPECT_NE(told.find("node 1 has not sent MiB "), std::string::npos) << told;
  EXPECT_NE(told.find(" of shard-00000-of-00001.safetensors for 0.2 s"), std::string::npos) << told;
  EXPECT_FALSE(ends[1].status.ok());
}

TEST(Trainer, ACommitOfAnotherRunIsRefusedOnEveryRank) {
  checkpoint::CommitStore store(1);
  Cluster before(1, 1);
  before.store = &store;
  TrainOptions other = kOptions;
  other.facts["data_crc32c"] = "aaaaaaaa";
  ASSERT_TRUE(before.Train(other).status.ok());
  Cluster after(1, 3);
  after.store = &store;
  TrainOptions mine = kOptions;
  mine.facts["data_crc32c"] = "bbbbbbbb";
  const Cluster::End end = after.Train(mine);
  EXPECT_EQ(end.status.code(), Code::kInvalid);
  EXPECT_NE(end.status.message().find("aaaaaaaa"), std::string::npos);
  EXPECT_NE(end.status.message().find("bbbbbbbb"), std::string::npos);
}

TEST(Trainer, OneRankThatIsAskedToStopStopsAllAfterTheSameStepWithACheckpoint) {
  checkpoint::CommitStore store(2);
  Cluster cluster(2, 2);
  cluster.store = &store;
  cluster.stop_at = 3;
  const Cluster::End end = cluster.Train(kOptions);
  EXPECT_TRUE(end.stopped);
  EXPECT_EQ(end.step, 3U);
  EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{3}));
}

TEST(Trainer, MoreRanksThanMicroBatchesIsAnError) {
  TrainOptions options = kOptions;
  options.micro_batches = 2;
  EXPECT_EQ(Cluster(1, 3).Train(options).status.code(), Code::kInvalid);
}

}  // namespace
}  // namespace muster
