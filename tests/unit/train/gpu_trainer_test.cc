// The training loop on GPUs, over fakes: where it begins, where it ends, and its checkpoints.
#include "runtime/train/gpu_trainer_cuda.h"

#include <map>

#include "runtime/base/recorder_file.h"
#include "runtime/train/flight_recorder.h"
#include "tests/unit/train/cluster.h"
#include "tests/unit/train/gpu_ranks.h"

namespace muster::testing {
namespace {

const TrainOptions kOptions{.steps = 6, .micro_batches = 8, .optimizer = {.warmup_steps = 2}};

// GPUs on nodes, a memory a node.
struct GpuCluster {
  int nodes = 1;
  int per_node = 1;
  checkpoint::CommitStore* store = nullptr;
  std::uint64_t stop_at = 0;  // The last rank is asked to stop while this step runs.
  BreakingModel::When breaks;
  int answers_after_skips = 0;  // Of the sinks.
  Memory* flight = nullptr;     // Of rank 0's recorder; null: none.

  struct End {
    Status status;
    std::vector<float> parameters;
    GpuProgress progress;
    bool stopped = false;
    std::vector<std::string> said;
  };

  std::vector<End> TrainAll(const TrainOptions& options) {
    std::vector<ThreadsMemory> memories(static_cast<std::size_t>(nodes));
    std::vector<End> ends(static_cast<std::size_t>(nodes * per_node));
    const GpuScene scene{.ranks = nodes * per_node, .breaks = breaks};
    scene.Run([&](const GpuRank& rank) {
      End& end = ends[static_cast<std::size_t>(rank.rank)];
      end = TrainRank(options, rank, memories[static_cast<std::size_t>(rank.rank / per_node)]);
    });
    return ends;
  }

  End Train(const TrainOptions& options) {
    const std::vector<End> ends = TrainAll(options);
    for (const End& end : ends) {
      EXPECT_TRUE(end.status.ok()) << end.status.message();
      EXPECT_EQ(end.parameters, ends[0].parameters);
      EXPECT_EQ(end.progress, ends[0].progress);
    }
    return ends[0];
  }

 private:
  End TrainRank(const TrainOptions& options, const GpuRank& rank, Memory& memory) const {
    Quiet host;
    host.stop_at = rank.rank == nodes * per_node - 1 ? stop_at : 0;
    std::optional<FakeSink> sink;
    if (store != nullptr) sink.emplace(*store, rank.rank / per_node);
    if (sink) sink->answers_after_skips = answers_after_skips;
    TrainOptions mine = options;
    mine.checkpoints = store != nullptr;
    std::optional<FlightRecorder> recorder;
    if (flight != nullptr && rank.rank == 0) {
      recorder.emplace(*flight, 0U, RecorderFacts{.rank = 0, .world_size = nodes * per_node},
                       rank.group, RealClock());
    }
    auto trainer = GpuTrainer::Start(
        mine, {.device = rank.device,
               .model = rank.model,
               .group = rank.group,
               .memory = memory,
               .sink = sink ? &*sink : nullptr,
               .host = host,
               .clock = RealClock(),
               .place = {.node = rank.rank / per_node, .local_rank = rank.rank % per_node},
               .group_elements = 8192,
               .recorder = recorder ? &recorder->recorder() : nullptr});
    if (!trainer.ok()) return {.status = std::move(trainer).status()};
    End end{.status = (*trainer)->Run()};
    const auto parameters = (*trainer)->Parameters();
    EXPECT_TRUE(parameters.ok()) << parameters.status().message();
    if (parameters.ok()) end.parameters = *parameters;
    end.progress = (*trainer)->progress();
    end.stopped = (*trainer)->stopped();
    end.said = host.said;
    EXPECT_TRUE(!end.status.ok() || rank.group == nullptr || rank.group->barrier().ok());
    return end;
  }
};

class GpuTrainerTest : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(Fakes::Violations(), "");
    Fakes::ForgetViolations();
  }
};

TEST_F(GpuTrainerTest, GoesOnFromACommitOnAnotherNumberOfRanksWithTheSameBits) {
  const auto undisturbed = GpuCluster{}.Train(kOptions);
  const std::pair<int, int> shapes[] = {{1, 2}, {3, 1}, {1, 1}, {2, 2}};
  for (std::size_t i = 0; i + 1 < std::size(shapes); ++i) {
    checkpoint::CommitStore store(static_cast<std::uint32_t>(shapes[i].first));
    TrainOptions first = kOptions;
    first.checkpoint_every = 2;
    first.stop_after = 5;
    const auto before =
        GpuCluster{.nodes = shapes[i].first, .per_node = shapes[i].second, .store = &store}.Train(
            first);
    EXPECT_TRUE(before.stopped);
    EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{2, 4, 5}));
    EXPECT_EQ(before.said.front(), "started from seed 42");
    EXPECT_EQ(before.said.back(), "checkpoint of step 5 is committed");
    // Of as many shards as that run has nodes.
    checkpoint::CommitStore again(static_cast<std::uint32_t>(shapes[i + 1].first));
    again.Take(store);
    const auto after =
        GpuCluster{.nodes = shapes[i + 1].first, .per_node = shapes[i + 1].second, .store = &again}
            .Train(kOptions);
    EXPECT_EQ(after.said.front(), "restored step 5 from a commit");
    EXPECT_EQ(after.parameters, undisturbed.parameters) << i;
    EXPECT_EQ(after.progress, undisturbed.progress) << i;
  }
}

TEST_F(GpuTrainerTest, TheRecorderTellsStepsCheckpointsAndCollectivesApart) {
  checkpoint::CommitStore store(1);
  ThreadsMemory memory;
  TrainOptions options = kOptions;
  options.checkpoint_every = 3;
  GpuCluster{.per_node = 2, .store = &store, .flight = &memory}.Train(options);
  const auto ring = memory.Get(RecorderMemory(0), RecorderBytes(kRecorderEntries));
  ASSERT_TRUE(ring.ok());
  const auto recording = ReadRecording(ring->bytes);
  ASSERT_TRUE(recording.ok()) << recording.status().message();
  std::map<RecordedOp, std::uint64_t> counts;
  for (const RecordedEntry& entry : recording->entries) {
    EXPECT_EQ(entry.state, RecordedState::kCompleted) << NameOf(entry.op);
    ++counts[entry.op];
  }
  EXPECT_EQ(counts[RecordedOp::kCompute], options.steps);
  EXPECT_EQ(counts[RecordedOp::kCheckpoint], 2U);
  EXPECT_GE(counts[RecordedOp::kAllToAll], options.steps);
  EXPECT_GE(counts[RecordedOp::kAllGather], options.steps);
}

TEST_F(GpuTrainerTest, AWishToStopOnOneRankEndsAllAtOneStepWithACheckpoint) {
  checkpoint::CommitStore store(1);
  GpuCluster cluster{.per_node = 3, .store = &store, .stop_at = 3};
  const auto end = cluster.Train(kOptions);
  EXPECT_TRUE(end.stopped);
  EXPECT_EQ(end.progress.step, 3U);
  EXPECT_EQ(store.Steps(), std::vector<std::uint64_t>{3});
}

TEST_F(GpuTrainerTest, ASkippedStepIsToldAndCountedAcrossARestart) {
  checkpoint::CommitStore store(1);
  TrainOptions options = kOptions;
  options.on_nan = OnNan::kSkip;
  options.stop_after = 3;
  GpuCluster cluster{.per_node = 2, .store = &store, .breaks = {.step = 1}};
  const auto end = cluster.Train(options);
  EXPECT_EQ(end.said[1],
            "step 1 is skipped: the gradient of h.0.attn.proj.bias is not finite (NaN or Inf)");
  options.stop_after = 0;
  EXPECT_EQ(GpuCluster({.store = &store}).Train(options).progress.skipped, 1U);
}

TEST_F(GpuTrainerTest, ACheckpointOfAnotherRunIsRefusedOnAllRanks) {
  checkpoint::CommitStore store(1);
  TrainOptions options = kOptions;
  options.stop_after = 1;
  GpuCluster{.store = &store}.Train(options);
  options.seed = 43;
  const auto ends = GpuCluster{.per_node = 2, .store = &store}.TrainAll(options);
  EXPECT_NE(ends[0].status.message().find("seed is 42 in the checkpoint and 43 in this run"),
            std::string::npos)
      << ends[0].status.message();
  EXPECT_EQ(ends[1].status.message(), "rank 0 could not start");
}

TEST_F(GpuTrainerTest, ASaveThatFindsNoMemoryIsSkippedOnAllRanksAndToldAndTrainingGoesOn) {
  checkpoint::CommitStore store(2);
  TrainOptions options = kOptions;
  options.checkpoint_every = 1;
  options.skip_busy_saves = true;
  GpuCluster cluster{.nodes = 2, .per_node = 2, .store = &store, .answers_after_skips = 1};
  const auto end = cluster.Train(options);
  EXPECT_EQ(end.parameters, GpuCluster{}.Train(kOptions).parameters);
  EXPECT_EQ(store.Steps(), (std::vector<std::uint64_t>{1, 2, 4, 5, 6}));
  EXPECT_NE(
      std::find(end.said.begin(), end.said.end(), "checkpoint of step 3 is NOT committed: skipped"),
      end.said.end());
}

decltype(&fake_cuda_stall) Stall() {
  auto library = DynamicLibrary::Open(std::vector<std::string>{FAKE_CUDART});
  CHECK(library.ok());
  return reinterpret_cast<decltype(&fake_cuda_stall)>(library->Find("fake_cuda_stall"));
}

// The copy is held up until the next update is in the stream: it must have waited.
TEST_F(GpuTrainerTest, WhatIsStagedIsTheStateOfTheStepThoughTrainingGoesOn) {
  const auto stall = Stall();
  GpuScene{}.Run([&](const GpuRank& rank) {
    auto loop =
        GpuLoop::Make(kOptions, {.device = rank.device, .model = rank.model, .clock = RealClock()});
    ASSERT_TRUE(loop.ok());
    const Layout& layout = (*loop)->layout();
    std::vector<float> parameters(layout.elements());
    rank.model.Initialize(42, layout, parameters.data());
    Put(rank.device, (*loop)->arrays()[0], parameters);
    ASSERT_TRUE((*loop)->Begin({.scale = {}}).ok());
    ASSERT_TRUE((*loop)->Step({}).ok());
    const auto before = Fetch(rank.device, (*loop)->arrays()[0], layout.elements());
    auto staging = GpuStaging::Make(rank.device);
    ASSERT_TRUE(staging.ok());
    const std::size_t bytes = layout.elements() * sizeof(float);
    std::byte* to = *rank.device.AllocatePinned(bytes, "a test");
    const GpuStaging::Run run{(*loop)->arrays()[0], layout.elements()};
    stall(rank.device.copies(), 1);
    ASSERT_TRUE((*staging)->Begin({&run, 1}, {.begin = 0, .end = bytes}, to).ok());
    (*loop)->HoldUpdate((*staging)->copied());
    ASSERT_TRUE((*loop)->Step({}).ok());
    EXPECT_FALSE(*(*staging)->TakeEnd());
    stall(rank.device.copies(), 0);
    Drain(rank.device, rank.device.copies());
    EXPECT_TRUE(*(*staging)->TakeEnd());
    EXPECT_EQ(std::memcmp(to, before.data(), bytes), 0);
    EXPECT_NE(Fetch(rank.device, (*loop)->arrays()[0], layout.elements()), before);
  });
}

TEST_F(GpuTrainerTest, ACopyWaitsForTheUpdateThatIsInTheStream) {
  const auto stall = Stall();
  GpuScene{}.Run([&](const GpuRank& rank) {
    GpuDevice& device = rank.device;
    float* const state = *device.AllocateArray<float>(1000, "a test");
    std::byte* const to = *device.AllocatePinned(4000, "a test");
    auto staging = GpuStaging::Make(device);
    ASSERT_TRUE(staging.ok());
    stall(device.compute(), 1);
    Put(device, state, std::vector<float>(1000, 2.5F));
    const GpuStaging::Run runs[] = {{state, 300}, {state + 500, 500}};
    // From the middle of one run to that of the other.
    ASSERT_TRUE((*staging)->Begin(runs, {.begin = 400, .end = 2000}, to).ok());
    EXPECT_FALSE(*(*staging)->TakeEnd());
    stall(device.compute(), 0);
    Drain(device, device.copies());
    EXPECT_TRUE(*(*staging)->TakeEnd());
    const auto* values = reinterpret_cast<const float*>(to);
    for (int i = 0; i < 1000; ++i) {
      EXPECT_EQ(values[i], i >= 100 && i < 500 ? 2.5F : 0.0F) << i;
    }
  });
}

}  // namespace
}  // namespace muster::testing
