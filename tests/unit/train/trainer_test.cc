#include "runtime/train/trainer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <thread>

#include "runtime/base/mutex.h"
#include "runtime/checkpoint/box.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/sampler.h"

namespace muster {
namespace {

// A model without sense but with bits: its gradient depends on the parameters, the step and the
// micro-batch, over many magnitudes.
class Chaos final : public Model {
 public:
  std::vector<TensorSpec> Tensors() const override {
    return {{.name = "a", .shape = {300, 301}, .decay = true}, {.name = "b", .shape = {77777}}};
  }
  void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const override {
    for (const auto& piece : layout.Pieces({0, layout.elements()})) {
      for (std::size_t i = piece.range.begin; i < piece.range.end; ++i) {
        parameters[i] = RandomNormal(seed, 1, i);
      }
    }
  }
  float Gradient(std::uint64_t step, std::uint32_t micro_batch, const Layout& layout,
                 const float* parameters, float* gradient) override {
    std::uint64_t word = RandomWord(5, step, micro_batch);
    for (std::size_t i = 0; i < layout.elements(); ++i) {  // Padding: 0 times something.
      word = word * 6364136223846793005U + 1442695040888963407U;
      gradient[i] = parameters[i] * static_cast<float>(word >> 40U) * 1e-6F;
    }
    return static_cast<float>(word >> 40U) * 1e-7F;
  }
  std::uint64_t tokens_per_micro_batch() const override { return 1; }
};

class Quiet final : public TrainHost {
 public:
  bool StopRequested() override { return stop_at != 0 && seen + 1 >= stop_at; }
  void Report(const link::Progress& progress, double) override { seen = progress.step; }
  void Say(const std::string& line) override { said.push_back(line); }

  std::uint64_t stop_at = 0;  // Asked to stop while this step runs.
  std::uint64_t seen = 0;
  std::vector<std::string> said;
};

// A store in memory, shared by the nodes: commits a step when every node's shard is there.
class FakeStore {
 public:
  explicit FakeStore(std::size_t nodes) : nodes_(nodes) {}

  void Save(const StagedShard& shard) {
    MutexLock lock(mutex_);
    Commit& commit = pending_[shard.step];
    std::size_t at = 0;
    for (const link::StagedTensor& box : shard.tensors) {
      auto& whole = commit.tensors[box.name];
      if (whole.bytes.empty()) {
        whole.tensor = checkpoint::WholeTensor(box.name, box.dtype, box.global_shape);
        whole.bytes.resize(checkpoint::BoxBytes(whole.tensor));
      }
      const std::size_t size = checkpoint::BoxBytes(box);
      checkpoint::CopyIntoWhole(box, 0, shard.bytes.subspan(at, size), whole.bytes);
      at += size;
    }
    EXPECT_EQ(at, shard.bytes.size());
    commit.host_state = shard.host_state;
    if (++commit.nodes == nodes_) commits_[shard.step] = commit;
  }
  std::optional<LoadedCheckpoint> Newest() {
    MutexLock lock(mutex_);
    if (commits_.empty()) return std::nullopt;
    const auto& [step, commit] = *commits_.rbegin();
    LoadedCheckpoint loaded{.step = step, .host_state = commit.host_state};
    auto bytes = std::make_shared<std::vector<std::byte>>();
    for (const auto& [name, whole] : commit.tensors) {
      loaded.tensors.push_back(whole.tensor);
      bytes->insert(bytes->end(), whole.bytes.begin(), whole.bytes.end());
    }
    loaded.bytes = *bytes;
    loaded.owner = bytes;
    return loaded;
  }
  std::vector<std::uint64_t> Steps() {
    MutexLock lock(mutex_);
    std::vector<std::uint64_t> steps;
    for (const auto& [step, commit] : commits_) steps.push_back(step);
    return steps;
  }

 private:
  struct Commit {
    struct Whole {
      link::StagedTensor tensor;
      std::vector<std::byte> bytes;
    };
    std::size_t nodes = 0;
    std::map<std::string, Whole> tensors;
    std::string host_state;
  };
  const std::size_t nodes_;
  Mutex mutex_;
  std::map<std::uint64_t, Commit> pending_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, Commit> commits_ GUARDED_BY(mutex_);
};

class FakeSink final : public CheckpointSink {
 public:
  explicit FakeSink(FakeStore& store) : store_(store) {}
  Result<std::optional<LoadedCheckpoint>> Load() override { return store_.Newest(); }
  Status Save(const StagedShard& shard) override {
    store_.Save(shard);
    saved_.push_back({.step = shard.step});
    return {};
  }
  Result<std::vector<link::Saved>> Poll(Duration) override { return std::exchange(saved_, {}); }

 private:
  FakeStore& store_;
  std::vector<link::Saved> saved_;
};

// A backend whose receives fail once `steps` steps are completed, as if the rank were killed in the
// middle of the next one.
class DyingBackend final : public Backend {
 public:
  DyingBackend(std::unique_ptr<Backend> backend, const Quiet& host, std::uint64_t steps)
      : Backend(backend->rank(), backend->world_size()),
        backend_(std::move(backend)),
        host_(host),
        steps_(steps) {}

  const char* name() const override { return "dying"; }
  Status Run(const Call& call) override { return backend_->Run(call); }
  std::unique_ptr<Work> Start(const Call& call) override {
    if (call.collective.kind != Collective::Kind::kRecv || host_.seen < steps_) {
      return backend_->Start(call);
    }
    return std::make_unique<EndedWork>(call.seq, Status(Code::kUnavailable, "killed"));
  }
  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override {
    return backend_->Split(plan);
  }

 private:
  const std::unique_ptr<Backend> backend_;
  const Quiet& host_;
  const std::uint64_t steps_;
};

class NoMemory final : public Memory {
 public:
  Result<Region> Get(const std::string& name, std::size_t) override {
    return Status(Code::kExhausted, "no memory for " + name);
  }
};

// A cluster of threads: each node has its own memory.
struct Cluster {
  Cluster(int node_count, int ranks_per_node)
      : nodes(node_count), per_node(ranks_per_node), memories(static_cast<std::size_t>(nodes)) {}

  const int nodes;
  int per_node;
  std::vector<ThreadsMemory> memories;
  FakeStore* store = nullptr;
  std::uint64_t stop_at = 0;
  std::uint32_t attempt = 0;

  struct End {
    Status status;
    std::uint64_t step = 0;
    bool stopped = false;
    std::vector<float> parameters;
    double loss_ema = 0;
    std::vector<std::string> said;
  };

  int dying_rank = -1;  // Dies after `dies_after` steps; nobody waits long for it.
  std::uint64_t dies_after = 0;
  int rank_without_memory = -1;

  End Train(const TrainOptions& options) {
    const std::vector<End> ends = TrainAll(options);
    for (std::size_t r = 1; r < ends.size(); ++r) {
      EXPECT_EQ(ends[r].status.ok(), ends[0].status.ok()) << ends[r].status.message();
      EXPECT_EQ(ends[r].parameters, ends[0].parameters) << r;
    }
    return ends[0];
  }

  std::vector<End> TrainAll(const TrainOptions& options) {
    const int world = nodes * per_node;
    ThreadsRendezvous rendezvous(world);
    std::vector<End> ends(static_cast<std::size_t>(world));
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world; ++rank) {
      threads.emplace_back([&, rank] {
        ends[static_cast<std::size_t>(rank)] = TrainRank(options, rendezvous, rank);
      });
    }
    threads.clear();
    return ends;
  }

  StateWord WordOf(int node) {
    auto state = memories[static_cast<std::size_t>(node)].Get("state", 1);
    EXPECT_TRUE(state.ok());
    return StateWord::Decode(reinterpret_cast<StateHeader*>(state->bytes.data())->word.load());
  }

 private:
  End TrainRank(const TrainOptions& options, ThreadsRendezvous& rendezvous, int rank) {
    Chaos model;
    Quiet host;
    host.stop_at = rank == nodes * per_node - 1 ? stop_at : 0;
    const bool somebody_dies = dying_rank >= 0;
    const Duration patience = somebody_dies ? std::chrono::seconds(1) : kPeerTimeout;
    std::unique_ptr<Backend> backend = MakeThreadsBackend(rendezvous, rank);
    if (rank == dying_rank) {
      backend = std::make_unique<DyingBackend>(std::move(backend), host, dies_after);
    }
    ProcessGroup group(std::move(backend), patience);
    NoMemory none;
    Memory& of_node = rank == rank_without_memory
                          ? static_cast<Memory&>(none)
                          : memories[static_cast<std::size_t>(rank / per_node)];
    std::optional<FakeSink> sink;
    if (store != nullptr) sink.emplace(*store);
    TrainOptions mine = options;
    mine.checkpoints = store != nullptr;
    auto trainer = Trainer::Start(
        mine, {.model = model,
               .group = group,
               .memory = of_node,
               .make_barrier =
                   [&](std::byte* memory, std::uint32_t ranks) {
                     return std::make_unique<NodeBarrier>(
                         *reinterpret_cast<NodeBarrier::Shared*>(memory), ranks, attempt, patience);
                   },
               .sink = sink ? &*sink : nullptr,
               .host = host,
               .clock = RealClock(),
               .place = {.node = rank / per_node, .local_rank = rank % per_node}});
    if (!trainer.ok()) return {.status = std::move(trainer).status()};
    End end{.status = (*trainer)->Run()};
    end.step = (*trainer)->step();
    end.stopped = (*trainer)->stopped();
    const float* parameters = (*trainer)->parameters();
    end.parameters.assign(parameters, parameters + (*trainer)->layout().elements());
    end.loss_ema = (*trainer)->loss_ema();
    end.said = host.said;
    EXPECT_TRUE(somebody_dies || group.barrier().ok());
    return end;
  }
};

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
    const std::size_t bytes = StateView::Bytes(Layout(Chaos().Tensors()));
    std::memset(state->bytes.data(), 0, bytes);
    cluster.attempt = 1;
    const Cluster::End end = cluster.Train(kOptions);
    EXPECT_EQ(end.parameters, undisturbed.parameters);
    EXPECT_EQ(end.said.at(0), "restored step 3 from memory");
  }
}

TEST(Trainer, AStateThatWasBeingUpdatedIsNotTrusted) {
  FakeStore store(1);
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
  FakeStore store(2);
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
  FakeStore store(1);
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
  FakeStore store(3);
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

TEST(Trainer, ACommitOfAnotherRunIsRefusedOnEveryRank) {
  FakeStore store(1);
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
  FakeStore store(2);
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
