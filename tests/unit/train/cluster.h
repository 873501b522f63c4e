// A cluster of threads that trains a model without sense: each node has a memory of its own.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <functional>
#include <latch>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/overlap_posix.h"
#include "runtime/train/sampler.h"
#include "runtime/train/trainer.h"
#include "tests/fakes/commit_store.h"

namespace muster {

// What a Chaos does wrong.
struct Mischief {
  std::int64_t never_tells = -1;  // That tensor.
  std::int64_t tells_twice = -1;
  std::int64_t breaks_step = -1;  // That step has a NaN in a gradient...
  std::size_t breaks_tensor = 0;  // ...of this tensor...
  std::uint32_t breaks_at = 5;    // ...in this micro-batch.
  double overflow_above = 1e300;  // Or an Inf, where the loss scale is more than this.
  bool breaks_loss = false;       // The step has a loss that is not finite, instead.
  bool expects_bf16 = false;      // Of its parameters.
  // After a tensor was told final.
  std::function<void(int rank, const MicroBatch& at, std::size_t tensor)> told;
};

// A model without sense but with bits: its gradient depends on the parameters, the step and the
// micro-batch, over many magnitudes.
class Chaos final : public Model {
 public:
  Chaos() : Chaos(Mischief(), 0) {}
  Chaos(Mischief mischief, int rank) : mischief_(std::move(mischief)), rank_(rank) {}

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
  float Gradient(const MicroBatch& at, const Layout& layout, const float* parameters,
                 float* gradient, Backward& backward) override {
    std::uint64_t word = RandomWord(5, at.step, at.index);
    backward.Begin();
    bool bf16 = true;
    for (std::size_t i = 0; i < layout.elements(); ++i) {
      bf16 = bf16 && (std::bit_cast<std::uint32_t>(parameters[i]) & 0xFFFFU) == 0;
    }
    EXPECT_EQ(bf16, mischief_.expects_bf16);
    for (std::size_t tensor = layout.tensors().size(); tensor-- > 0;) {
      const std::size_t end = tensor == 0 ? layout.elements() : layout.offset(tensor - 1);
      for (std::size_t i = layout.offset(tensor); i < end; ++i) {  // Padding: 0 times something.
        word = word * 6364136223846793005U + 1442695040888963407U;
        gradient[i] =
            parameters[i] * static_cast<float>(word >> 40U) * 1e-6F * backward.loss_scale();
      }
      Break(at, tensor, backward, gradient + layout.offset(tensor));
      if (mischief_.never_tells == static_cast<std::int64_t>(tensor)) continue;
      backward.Final(tensor);
      if (mischief_.tells_twice == static_cast<std::int64_t>(tensor)) backward.Final(tensor);
      if (mischief_.told) mischief_.told(rank_, at, tensor);
    }
    const bool breaks = mischief_.breaks_loss && IsBroken(at);
    return breaks ? std::numeric_limits<float>::infinity()
                  : static_cast<float>(word >> 40U) * 1e-7F;
  }
  std::uint64_t tokens_per_micro_batch() const override { return 1; }

 private:
  bool IsBroken(const MicroBatch& at) const {
    return mischief_.breaks_step == static_cast<std::int64_t>(at.step) &&
           mischief_.breaks_at == at.index;
  }
  void Break(const MicroBatch& at, std::size_t tensor, const Backward& backward,
             float* gradient) const {
    if (tensor == mischief_.breaks_tensor && IsBroken(at) && !mischief_.breaks_loss) {
      gradient[70000] = std::numeric_limits<float>::quiet_NaN();
    }
    const auto scale = static_cast<double>(backward.loss_scale());
    if (scale > mischief_.overflow_above) gradient[3] = std::numeric_limits<float>::infinity();
  }

  const Mischief mischief_;
  const int rank_ = 0;
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

// What a node's leader has of the store.
class FakeSink final : public CheckpointSink {
 public:
  FakeSink(checkpoint::CommitStore& store, int node)
      : store_(store), node_(static_cast<std::uint32_t>(node)) {}
  Result<std::optional<checkpoint::Manifest>> OpenNewest() override { return store_.OpenNewest(); }
  Result<std::span<const std::byte>> Read(const checkpoint::SaveId& save,
                                          const checkpoint::ManifestFile& file, std::uint64_t first,
                                          std::uint64_t blocks) override {
    if (fails_to_read) return Status(Code::kDataLoss, "CRC-32C does not hold");
    if (hang) {
      hang();
      return Status(Code::kUnavailable, "the share came back too late");
    }
    auto bytes = store_.Read(save, std::string(file.name), file.size, first,
                             file.crcs.subspan(first, blocks));
    if (!bytes.ok()) return std::move(bytes).status();
    std::swap(read_[0], read_[1]);
    read_[0] = *std::move(bytes);
    return std::span<const std::byte>(read_[0]);
  }
  Status Save(const StagedShard& shard) override {
    store_.Save(node_, shard.step, shard.tensors, shard.bytes, shard.host_state);
    saved_.push_back({.step = shard.step});
    return {};
  }
  Status Skip(std::uint64_t step) override {
    saved_.push_back({.step = step, .error = "skipped"});
    ++skips_;
    return {};
  }
  Result<std::vector<link::Saved>> Poll(Duration) override {
    if (skips_ < answers_after_skips) return std::vector<link::Saved>();
    return std::exchange(saved_, {});
  }

  Duration patience() const override { return others_wait; }

  bool fails_to_read = false;
  std::function<void()> hang;  // Reads stand still in it.
  Duration others_wait = kReadPatience;
  int answers_after_skips = 0;  // Until then it says of no save how it went.

 private:
  checkpoint::CommitStore& store_;
  const std::uint32_t node_;
  std::vector<link::Saved> saved_;
  int skips_ = 0;
  std::array<std::vector<std::byte>, 2> read_;  // In turn.
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
    return std::make_unique<Cut>(call.seq);
  }
  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override {
    return backend_->Split(plan);
  }

 private:
  // What is sent besides still leaves.
  class Cut final : public Work {
   public:
    using Work::Work;
    bool done() override { return false; }
    Status wait(Duration) override { return Status(Code::kUnavailable, "killed"); }
  };

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
  checkpoint::CommitStore* store = nullptr;
  std::uint64_t stop_at = 0;
  std::uint32_t attempt = 0;

  struct End {
    Status status;
    std::uint64_t step = 0;
    bool stopped = false;
    std::vector<float> parameters;
    double loss_ema = 0;
    std::vector<std::string> said;
    std::uint64_t skipped = 0;
    StepTimes times;
  };

  std::function<Recorder*(int rank)> recorder_of;
  std::function<CollectiveObserver*(int rank)> observer_of;
  int dying_rank = -1;  // Dies after `dies_after` steps; nobody waits long for it.
  std::uint64_t dies_after = 0;
  int rank_without_memory = -1;
  int node_that_reads_nothing = -1;
  int node_that_hangs = -1;  // Its reads wait until the other ranks have given up.
  int answers_after_skips = 0;
  int rank_with_memory_of_its_own = -1;
  bool impatient = false;  // Nobody waits long.
  Mischief mischief;
  bool overlap = false;

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
    std::latch others(world - per_node);
    hang_ = [&others] { others.wait(); };
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world; ++rank) {
      threads.emplace_back([&, rank] {
        ends[static_cast<std::size_t>(rank)] = TrainRank(options, rendezvous, rank);
        if (rank / per_node != node_that_hangs && node_that_hangs >= 0) others.count_down();
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
  std::function<void()> hang_;

  End TrainRank(const TrainOptions& options, ThreadsRendezvous& rendezvous, int rank) {
    Chaos model(mischief, rank);
    Quiet host;
    host.stop_at = rank == nodes * per_node - 1 ? stop_at : 0;
    const bool somebody_dies = dying_rank >= 0 || impatient;
    const Duration patience = somebody_dies ? std::chrono::seconds(1) : kPeerTimeout;
    std::unique_ptr<Backend> backend = MakeThreadsBackend(rendezvous, rank);
    if (rank == dying_rank) {
      backend = std::make_unique<DyingBackend>(std::move(backend), host, dies_after);
    }
    ProcessGroup group(std::move(backend), patience);
    if (observer_of) group.observe(observer_of(rank));
    NoMemory none;
    ThreadsMemory own;
    Memory& shared = memories[static_cast<std::size_t>(rank / per_node)];
    Memory& of_node = rank == rank_without_memory           ? static_cast<Memory&>(none)
                      : rank == rank_with_memory_of_its_own ? static_cast<Memory&>(own)
                                                            : shared;
    CommunicationOverlap beside;
    std::optional<FakeSink> sink;
    if (store != nullptr) sink.emplace(*store, rank / per_node);
    if (sink) sink->answers_after_skips = answers_after_skips;
    if (sink) sink->fails_to_read = rank / per_node == node_that_reads_nothing;
    if (sink && node_that_hangs >= 0) sink->others_wait = std::chrono::milliseconds(200);
    if (sink && rank / per_node == node_that_hangs) sink->hang = hang_;
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
               .place = {.node = rank / per_node, .local_rank = rank % per_node},
               .recorder = recorder_of ? recorder_of(rank) : nullptr,
               .overlap = overlap ? &beside : nullptr});
    if (!trainer.ok()) return {.status = std::move(trainer).status()};
    End end{.status = (*trainer)->Run()};
    end.step = (*trainer)->step();
    end.stopped = (*trainer)->stopped();
    const float* parameters = (*trainer)->parameters();
    end.parameters.assign(parameters, parameters + (*trainer)->layout().elements());
    end.loss_ema = (*trainer)->loss_ema();
    end.said = host.said;
    end.skipped = (*trainer)->skipped();
    end.times = (*trainer)->times();
    EXPECT_TRUE(somebody_dies || group.barrier().ok());
    return end;
  }
};

}  // namespace muster
