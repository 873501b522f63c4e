#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>

#include "tests/unit/train/cluster.h"

namespace muster {
namespace {

const TrainOptions kOptions{.steps = 4, .optimizer = {.warmup_steps = 2}};

bool SameBits(const Cluster::End& a, const Cluster::End& b) {
  return a.parameters.size() == b.parameters.size() && !a.parameters.empty() &&
         std::memcmp(a.parameters.data(), b.parameters.data(),
                     a.parameters.size() * sizeof(float)) == 0 &&
         a.loss_ema == b.loss_ema;
}

struct Variant {
  bool overlap = false;
  bool zero1 = false;
};
constexpr Variant kVariants[] = {{false, false}, {true, false}, {false, true}, {true, true}};

Cluster::End TrainOn(int nodes, int per_node, Variant variant, TrainOptions options = kOptions,
                     const Mischief& mischief = {}) {
  Cluster cluster(nodes, per_node);
  cluster.overlap = variant.overlap;
  cluster.mischief = mischief;
  options.zero1 = variant.zero1;
  return cluster.Train(options);
}

std::string Name(int nodes, int per_node, Variant variant) {
  return std::to_string(nodes) + " x " + std::to_string(per_node) +
         (variant.overlap ? " overlapped" : "") + (variant.zero1 ? " zero1" : "");
}

// ---- The same bits ------------------------------------------------------------------------------

// 1, 2, 4, 8, 16 and 3, 5, 6, 7 ranks, on one node and on several.
TEST(Training, EveryShapeOverlappedOrNotShardedOrNotGivesTheSameBits) {
  const Cluster::End alone = TrainOn(1, 1, {});
  ASSERT_TRUE(alone.status.ok());
  const std::pair<int, int> shapes[] = {{1, 7}, {2, 1}, {2, 2}, {3, 1}, {2, 3}, {3, 2},
                                        {5, 1}, {7, 1}, {4, 2}, {2, 8}, {16, 1}};
  for (const auto& [nodes, per_node] : shapes) {
    for (const Variant variant : kVariants) {
      const Cluster::End end = TrainOn(nodes, per_node, variant);
      ASSERT_TRUE(end.status.ok()) << end.status.message();
      EXPECT_TRUE(SameBits(end, alone)) << Name(nodes, per_node, variant);
    }
  }
}

TEST(Training, EveryNumberOfMicroBatchesFromThatOfRanksOnGivesTheSameBits) {
  for (const std::uint32_t micro_batches : {5U, 6U, 7U, 13U}) {
    TrainOptions options = kOptions;
    options.micro_batches = micro_batches;
    options.steps = 2;
    const Cluster::End alone = TrainOn(1, 1, {}, options);
    EXPECT_TRUE(SameBits(TrainOn(5, 1, {true, true}, options), alone)) << micro_batches;
    EXPECT_TRUE(SameBits(TrainOn(2, 2, {true, false}, options), alone)) << micro_batches;
  }
}

TEST(Training, WithoutDeterminismARunRepeatsItselfButNotThatOfAnotherShape) {
  TrainOptions options = kOptions;
  options.deterministic = false;
  const Cluster::End alone = TrainOn(1, 1, {}, options);
  const Cluster::End some = TrainOn(3, 2, {true, true}, options);
  EXPECT_TRUE(SameBits(TrainOn(3, 2, {false, false}, options), some));
  EXPECT_FALSE(SameBits(alone, some));
  EXPECT_NEAR(alone.loss_ema, some.loss_ema, 1e-6);
  double distance = 0;
  double length = 0;
  for (std::size_t i = 0; i < alone.parameters.size(); ++i) {
    distance += std::abs(static_cast<double>(alone.parameters[i] - some.parameters[i]));
    length += std::abs(static_cast<double>(alone.parameters[i]));
  }
  EXPECT_LT(distance, 1e-3 * length);
}

TEST(Training, AccumulationIsMoreMicroBatchesWithAsManyMessages) {
  class Counter final : public CollectiveObserver {
   public:
    void Began(std::uint64_t, const Collective&) override { ++calls; }
    void Ended(std::uint64_t, const Collective&, const Status&) override {}
    int calls = 0;
  };
  const auto messages = [](std::uint32_t micro_batches, std::uint32_t accumulate,
                           std::vector<float>& parameters) {
    Counter counter;
    Cluster cluster(2, 1);
    cluster.observer_of = [&](int rank) { return rank == 0 ? &counter : nullptr; };
    TrainOptions options = kOptions;
    options.micro_batches = micro_batches;
    options.accumulate = accumulate;
    parameters = cluster.Train(options).parameters;
    return counter.calls;
  };
  std::vector<float> four_times;
  std::vector<float> at_once;
  std::vector<float> one;
  EXPECT_EQ(messages(4, 4, four_times), messages(16, 1, at_once));
  EXPECT_EQ(messages(4, 1, one), messages(4, 4, four_times));
  EXPECT_EQ(four_times, at_once);
  EXPECT_NE(one, at_once);
}

// ---- Overlap ------------------------------------------------------------------------------------

// The model goes on with its backward pass only when it has seen the first bucket leave.
TEST(Training, BucketsLeaveWhileTheBackwardPassGoesOn) {
  class Sends final : public CollectiveObserver {
   public:
    void Began(std::uint64_t, const Collective& call) override {
      if (call.kind != Collective::Kind::kSend) return;
      MutexLock lock(mutex_);
      ++sends_;
      changed_.notify_all();
    }
    void Ended(std::uint64_t, const Collective&, const Status&) override {}
    bool Await(int sends) {
      const TimePoint deadline = RealClock().Now() + std::chrono::seconds(30);
      MutexLock lock(mutex_);
      while (sends_ < sends) {
        if (changed_.wait_until(mutex_, deadline) == std::cv_status::timeout) break;
      }
      return sends_ >= sends;
    }

   private:
    Mutex mutex_;
    std::condition_variable_any changed_;
    int sends_ GUARDED_BY(mutex_) = 0;
  };
  Sends sends[2];
  Cluster cluster(2, 1);
  cluster.overlap = true;
  cluster.observer_of = [&](int rank) { return &sends[rank]; };
  std::atomic<int> seen{0};
  cluster.mischief.told = [&](int rank, const MicroBatch& at, std::size_t tensor) {
    // The last micro-batch of each rank's eight; tensor 1 fills the first buckets.
    if (at.step > 0 || at.index % 8 != 7 || tensor != 1) return;
    if (sends[rank].Await(1)) ++seen;
  };
  EXPECT_TRUE(cluster.Train(kOptions).status.ok());
  EXPECT_EQ(seen.load(), 2);
}

TEST(Training, AGradientThatIsNeverToldEndsEveryRankAndIsNamed) {
  for (const bool overlap : {false, true}) {
    for (const std::int64_t tensor : {0, 1}) {
      Cluster cluster(2, 2);
      cluster.overlap = overlap;
      cluster.impatient = true;
      cluster.mischief.never_tells = tensor;
      for (const Cluster::End& end : cluster.TrainAll(kOptions)) {
        EXPECT_EQ(end.status.code(), Code::kInvalid) << end.status.message();
        EXPECT_NE(end.status.message().find(tensor == 0 ? "gradient of a was never told"
                                                        : "gradient of b was never told"),
                  std::string::npos)
            << end.status.message();
      }
    }
  }
}

TEST(Training, AGradientThatIsToldTwiceIsNamed) {
  Cluster twice(1, 1);
  twice.mischief.tells_twice = 1;
  EXPECT_EQ(twice.Train(kOptions).status.message(),
            "step 0, micro-batch 0: the gradient of b was told twice");
}

TEST(Training, TheRecorderTellsForwardBackwardAndCommunicationApart) {
  for (const Variant variant : {Variant{true, false}, Variant{true, true}}) {
    Cluster cluster(2, 1);
    cluster.overlap = true;
    std::vector<std::byte> memory(RecorderBytes(1000) + 8);
    Recorder recorder(memory, {.rank = 0, .world_size = 2}, RealClock());
    cluster.recorder_of = [&](int rank) { return rank == 0 ? &recorder : nullptr; };
    TrainOptions options = kOptions;
    options.zero1 = variant.zero1;
    const Cluster::End end = cluster.Train(options);
    const auto recording = ReadRecording(memory);
    ASSERT_TRUE(recording.ok());
    std::map<RecordedOp, std::uint64_t> counts;
    for (const RecordedEntry& entry : recording->entries) {
      EXPECT_EQ(entry.state, RecordedState::kCompleted);
      ++counts[entry.op];
    }
    EXPECT_EQ(counts[RecordedOp::kForward], 8 * options.steps);  // Eight micro-batches a step.
    EXPECT_EQ(counts[RecordedOp::kBackward], 8 * options.steps);
    EXPECT_EQ(counts[RecordedOp::kCompute], 0U);
    EXPECT_EQ(counts[RecordedOp::kOptimizer], options.steps);
    EXPECT_EQ(counts[RecordedOp::kAllReduce], variant.zero1 ? 0 : options.steps);
    EXPECT_EQ(counts[RecordedOp::kReduceScatter], variant.zero1 ? options.steps : 0);
    EXPECT_EQ(counts[RecordedOp::kAllGather], variant.zero1 ? options.steps : 0);
    EXPECT_EQ(end.times.steps, options.steps);
    EXPECT_GT(end.times.backward, Duration::zero());
    EXPECT_GT(end.times.communication, Duration::zero());
  }
}

// ---- ZeRO-1 -------------------------------------------------------------------------------------

TEST(Shards, AreWholeBucketsOfEqualNumberAndTileEverything) {
  const Layout layout({{.name = "x", .shape = {10 * Layout::kMostBucketElements + 5}}});
  for (const std::uint32_t nodes : {1U, 2U, 3U, 7U, 16U}) {
    const Shards shards(layout, nodes, true);
    std::size_t next = 0;
    for (std::uint32_t node = 0; node < nodes; ++node) {
      const Range range = shards.Of(node);
      EXPECT_EQ(range.begin, next);
      next = range.end;
      std::size_t owned = 0;
      for (std::size_t b = 0; b < layout.buckets(); ++b) owned += shards.Owns(node, b) ? 1 : 0;
      EXPECT_GE(owned, layout.buckets() / nodes);
      EXPECT_LE(owned, layout.buckets() / nodes + 1);
    }
    EXPECT_EQ(next, layout.elements());
  }
  EXPECT_EQ(Shards(layout, 4, false).Of(2), (Range{0, layout.elements()}));
}

TEST(Zero1, ACommitOfOneShapeIsContinuedByAnyOther) {
  const Cluster::End undisturbed = TrainOn(1, 1, {});
  struct Shape {
    int nodes, per_node;
    bool zero1;
  };
  const std::pair<Shape, Shape> changes[] = {{{3, 2, true}, {1, 5, false}},
                                             {{1, 5, false}, {3, 1, true}},
                                             {{2, 2, true}, {5, 1, true}},
                                             {{2, 1, true}, {2, 1, false}}};
  for (const auto& [from, to] : changes) {
    checkpoint::CommitStore before_store(static_cast<std::uint32_t>(from.nodes));
    Cluster before(from.nodes, from.per_node);
    before.store = &before_store;
    TrainOptions cut = kOptions;
    cut.stop_after = 2;
    cut.zero1 = from.zero1;
    ASSERT_TRUE(before.Train(cut).status.ok());
    EXPECT_EQ(before_store.Steps(), (std::vector<std::uint64_t>{2}));
    Cluster after(to.nodes, to.per_node);
    after.store = &before_store;
    TrainOptions rest = kOptions;
    rest.zero1 = to.zero1;
    const Cluster::End end = after.Train(rest);
    EXPECT_EQ(end.said.at(0), "restored step 2 from a commit");
    EXPECT_TRUE(SameBits(end, undisturbed)) << from.nodes << " to " << to.nodes;
  }
}

TEST(Zero1, GoesOnFromMemoryOnlyIfEveryNodeHasItsShard) {
  const Cluster::End undisturbed = TrainOn(1, 1, {});
  for (const bool lost : {false, true}) {
    checkpoint::CommitStore store(2);
    Cluster cluster(2, 2);
    cluster.store = &store;
    TrainOptions cut = kOptions;
    cut.zero1 = true;
    cut.stop_after = 3;
    ASSERT_TRUE(cluster.Train(cut).status.ok());
    cluster.attempt = 1;
    if (lost) {  // Zeros, as a new job daemon hands out.
      const Layout layout(Chaos().Tensors());
      const std::size_t bytes = StateView::Bytes(layout, Shards(layout, 2, true).Of(1));
      EXPECT_LT(bytes, StateView::Bytes(layout, {0, layout.elements()}));
      auto state = cluster.memories[1].Get("state." + std::to_string(bytes), 1);
      std::memset(state->bytes.data(), 0, bytes);
    }
    TrainOptions rest = kOptions;
    rest.zero1 = true;
    const Cluster::End end = cluster.Train(rest);
    EXPECT_EQ(end.said.at(0),
              lost ? "restored step 3 from a commit" : "restored step 3 from memory");
    EXPECT_TRUE(SameBits(end, undisturbed));
  }
}

TEST(Zero1, AStoreThatTheFirstNodeAloneWritesIsRefusedOverSeveralNodes) {
  TrainOptions options = kOptions;
  options.first_node_saves = true;
  options.zero1 = true;
  checkpoint::CommitStore store(1);
  Cluster two(2, 1);
  two.store = &store;
  const Cluster::End end = two.Train(options);
  EXPECT_EQ(end.status.code(), Code::kInvalid);
  EXPECT_NE(end.status.message().find("--checkpoint-store"), std::string::npos);
  Cluster one(1, 2);
  one.store = &store;
  EXPECT_TRUE(one.Train(options).status.ok());
}

// ---- Precision ----------------------------------------------------------------------------------

TEST(Training, BF16KeepsF32MasterWeightsAndTheSameBitsOnEveryShape) {
  TrainOptions options = kOptions;
  options.precision = Precision::kBF16;
  const Mischief expects{.expects_bf16 = true};
  const Cluster::End alone = TrainOn(1, 1, {}, options, expects);
  EXPECT_FALSE(SameBits(alone, TrainOn(1, 1, {})));
  std::size_t fine = 0;  // Not bf16 themselves.
  for (const float x : alone.parameters) {
    fine += (std::bit_cast<std::uint32_t>(x) & 0xFFFFU) != 0 ? 1 : 0;
  }
  EXPECT_GT(fine, alone.parameters.size() / 2);
  for (const Variant variant : kVariants) {
    EXPECT_TRUE(SameBits(TrainOn(3, 2, variant, options, expects), alone));
    EXPECT_TRUE(SameBits(TrainOn(1, 3, variant, options, expects), alone));
  }
}

TEST(Training, BF16GoesOnFromMemoryAndFromACommitWithTheSameBits) {
  TrainOptions options = kOptions;
  options.precision = Precision::kBF16;
  const Mischief expects{.expects_bf16 = true};
  Cluster cluster(2, 2);
  cluster.mischief = expects;
  TrainOptions cut = options;
  cut.stop_after = 2;
  cluster.Train(cut);
  cluster.attempt = 1;
  const Cluster::End undisturbed = TrainOn(1, 1, {}, options, expects);
  EXPECT_TRUE(SameBits(cluster.Train(options), undisturbed));
  // From a commit, where nothing but the master weights is left.
  checkpoint::CommitStore store(1);
  Cluster before(1, 2);
  before.mischief = expects;
  before.store = &store;
  before.Train(cut);
  Cluster after(3, 1);
  after.mischief = expects;
  after.store = &store;
  EXPECT_TRUE(SameBits(after.Train(options), undisturbed));
}

TEST(Training, AStaticLossScaleLeavesNoTraceInTheBits) {
  TrainOptions options = kOptions;
  options.loss_scaling.scale = 4096;
  EXPECT_TRUE(SameBits(TrainOn(2, 2, {true, true}, options), TrainOn(1, 1, {})));
}

TEST(Training, ADynamicLossScaleSkipsWhatOverflowsAndIsRemembered) {
  TrainOptions options = kOptions;
  options.steps = 6;
  options.loss_scaling = {.scale = 65536, .dynamic = true, .growth_interval = 2};
  const Mischief overflows{.overflow_above = 9000};  // 65536, 32768, 16384, and once more.
  const Cluster::End alone = TrainOn(1, 1, {}, options, overflows);
  ASSERT_TRUE(alone.status.ok()) << alone.status.message();
  EXPECT_EQ(alone.skipped, 4U);
  EXPECT_TRUE(SameBits(TrainOn(2, 2, {true, true}, options, overflows), alone));
  // Across a restart on another number of ranks, between two steps that the scale decides.
  checkpoint::CommitStore store(1);
  TrainOptions cut = options;
  cut.stop_after = 2;
  Cluster before(1, 3);
  before.mischief = overflows;
  before.store = &store;
  ASSERT_TRUE(before.Train(cut).status.ok());
  Cluster after(3, 1);
  after.mischief = overflows;
  after.store = &store;
  const Cluster::End end = after.Train(options);
  EXPECT_EQ(end.skipped, 4U);
  EXPECT_TRUE(SameBits(end, alone));
}

// ---- NaN ----------------------------------------------------------------------------------------

TEST(Nan, StopNamesStepAndTensorOnEveryRankAndKeepsTheState) {
  for (const Variant variant : kVariants) {
    Cluster cluster(2, 2);
    cluster.overlap = variant.overlap;
    cluster.mischief = {.breaks_step = 2, .breaks_tensor = 1};
    TrainOptions options = kOptions;
    options.zero1 = variant.zero1;
    for (const Cluster::End& end : cluster.TrainAll(options)) {
      EXPECT_EQ(end.status.code(), Code::kDataLoss);
      EXPECT_EQ(end.status.message(),
                "step 2: the gradient of b is not finite (NaN or Inf); nothing was changed, the "
                "last checkpoint stands");
      EXPECT_EQ(end.step, 2U);
    }
    if (variant.zero1) continue;
    EXPECT_EQ(cluster.WordOf(1), (StateWord{.kind = StateWord::Kind::kStable, .step = 2}));
  }
}

TEST(Nan, SkipLeavesTheStepOutOnEveryShapeWithTheSameBits) {
  TrainOptions options = kOptions;
  options.on_nan = OnNan::kSkip;
  const Mischief breaks{.breaks_step = 1, .breaks_tensor = 0};
  const Cluster::End alone = TrainOn(1, 1, {}, options, breaks);
  ASSERT_TRUE(alone.status.ok());
  EXPECT_EQ(alone.step, 4U);
  EXPECT_EQ(alone.skipped, 1U);
  EXPECT_EQ(alone.said.at(1), "step 1 is skipped: the gradient of a is not finite (NaN or Inf)");
  EXPECT_FALSE(SameBits(alone, TrainOn(1, 1, {})));
  for (const float x : alone.parameters) ASSERT_TRUE(std::isfinite(x));
  EXPECT_TRUE(SameBits(TrainOn(3, 1, {true, true}, options, breaks), alone));
}

TEST(Nan, ALossThatIsNotFiniteIsNamedToo) {
  const Cluster::End end = TrainOn(1, 2, {}, kOptions, {.breaks_step = 1, .breaks_loss = true});
  EXPECT_EQ(end.status.message().find("step 1: the loss is not finite"), 0U)
      << end.status.message();
}

// After a stop the run goes on where it was, with another policy.
TEST(Nan, SkipGoesOnFromWhereStopEnded) {
  const Mischief breaks{.breaks_step = 2};
  Cluster cluster(1, 2);
  cluster.mischief = breaks;
  EXPECT_EQ(cluster.Train(kOptions).status.code(), Code::kDataLoss);
  cluster.attempt = 1;
  TrainOptions skips = kOptions;
  skips.on_nan = OnNan::kSkip;
  const Cluster::End end = cluster.Train(skips);
  EXPECT_EQ(end.said.at(0), "restored step 2 from memory");
  EXPECT_TRUE(SameBits(end, TrainOn(1, 1, {}, skips, breaks)));
}

// ---- Memory -------------------------------------------------------------------------------------

TEST(Training, RanksThatThinkToShareANodeAndShareNoMemoryAreNamed) {
  Cluster cluster(2, 2);
  cluster.rank_with_memory_of_its_own = 3;
  const auto ends = cluster.TrainAll(kOptions);
  for (const std::size_t rank : {2U, 3U}) {
    EXPECT_EQ(ends[rank].status.code(), Code::kInvalid);
    EXPECT_NE(ends[rank].status.message().find(
                  "both say that they run on node 1, but they share no memory"),
              std::string::npos)
        << ends[rank].status.message();
  }
  EXPECT_EQ(ends[0].status.code(), Code::kAborted);
}

}  // namespace
}  // namespace muster
