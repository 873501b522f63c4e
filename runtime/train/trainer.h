// The data-parallel training loop of one rank.
//
// The ranks of a node share parameters, optimizer state and gradients in one arena (arena.h).  A
// step: every rank computes its micro-batches | barrier | every lane sums its buckets (reducer.h) |
// barrier | clip by the global norm, AdamW on the lane's buckets | barrier.  All sums have one
// canonical order, so the bits do not depend on the number of ranks and nodes.
//
// An attempt goes on from the newest whole state in some node's memory, else from the newest
// commit, else from the seed.  One thread a rank.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/link.h"
#include "runtime/comm/barrier.h"
#include "runtime/comm/process_group.h"
#include "runtime/comm/recorder.h"
#include "runtime/train/arena.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/host_state.h"
#include "runtime/train/memory.h"
#include "runtime/train/model.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/reducer.h"
#include "runtime/train/stager.h"

namespace muster {

struct TrainOptions {
  std::uint64_t steps = 0;       // Of the whole run; the learning rate's schedule ends there.
  std::uint64_t stop_after = 0;  // Stop as if asked to after this step; 0: do not.
  std::uint32_t micro_batches = 16;
  std::uint64_t seed = 42;
  bool from_memory = true;             // Go on from a whole state in memory before any checkpoint.
  bool checkpoints = false;            // Load and save them; if not, the rest has no meaning.
  bool first_node_saves = false;       // All of it; else each node its share.
  std::uint64_t checkpoint_every = 0;  // Steps; 0: only when stopped and at the end.
  OptimizerConfig optimizer;
  RunFacts facts;  // Of the model and its data: what must be equal to go on.
};

// Makes the barrier of the `ranks` of this node and this attempt, in 64 bytes that they share.
using BarrierMaker =
    std::function<std::unique_ptr<Barrier>(std::byte* memory, std::uint32_t ranks)>;

// The world around the loop of one rank.
class TrainHost {
 public:
  virtual ~TrainHost() = default;
  // Somebody asked for an end: finish the step, checkpoint, leave.
  virtual bool StopRequested() = 0;
  // After each step, and when a phase begins.  Must not block.
  virtual void Report(const link::Progress& progress, double loss_ema) = 0;
  // A line for people, said once per job.
  virtual void Say(const std::string& line) = 0;
};

class Trainer {
 public:
  struct Parts {
    Model& model;
    ProcessGroup& group;
    Memory& memory;
    BarrierMaker make_barrier;
    CheckpointSink* sink = nullptr;  // Only that of a node's leader is used.
    TrainHost& host;
    Clock& clock;
    Place place;
    Recorder* recorder = nullptr;  // Null: nothing is recorded.
  };

  // Collective.  The parts outlive the trainer.
  static Result<std::unique_ptr<Trainer>> Start(TrainOptions options, Parts parts);

  // Trains to the end, or to the step after which somebody asked to stop.
  Status Run();

  bool stopped() const { return stopped_; }
  std::uint64_t step() const { return step_; }
  std::uint64_t first_step() const { return first_step_; }
  double loss_ema() const { return state_.header().loss_ema; }
  const float* parameters() const { return state_.parameters(); }
  const Layout& layout() const { return layout_; }
  const Topology& topology() const { return topology_; }

 private:
  Trainer(TrainOptions options, Parts parts, Layout layout, Topology topology);

  Status OpenMemory();
  // Collective.  `opened`: how OpenMemory went; if it failed on one rank, every rank fails.
  Status Restore(const Status& opened);
  std::int64_t StepInMemory() const;  // -1: not whole, or of another run.
  Status RestoreFromMemory(std::uint32_t source, std::uint64_t step);
  Result<std::string> RestoreFromCommitOrStart();
  // Ok if every rank is and every node stands at the same step; else every rank fails.
  Status AgreeOnStep(const Status& restored);

  Status Step();
  void ComputeGradients();
  Status ReduceGradients();
  void Update(double gradient_scale);
  Status AwaitNode();
  void Report(link::Phase phase, std::string note = {});
  Status SaveCheckpoint();
  Status TellSaves(Duration timeout);
  Status FinishSaves();
  bool leader() const { return topology_.leader(); }

  const TrainOptions options_;
  const Parts parts_;
  const Layout layout_;
  const Topology topology_;
  const RunFacts facts_;  // The options' and the loop's own.

  StateView state_;
  GradientView gradients_;
  std::unique_ptr<Barrier> barrier_;
  std::optional<GradientReducer> reducer_;
  std::optional<CheckpointStager> stager_;
  AccumulatePlan accumulate_;
  Recorder silent_;
  Recorder& recorder_ = parts_.recorder != nullptr ? *parts_.recorder : silent_;
  const std::uint16_t recorded_group_ = recorder_.AddGroup("training");

  std::uint64_t first_step_ = 0;
  std::uint64_t step_ = 0;
  std::optional<std::uint64_t> saved_step_;
  bool stop_seen_ = false;
  bool stopped_ = false;
  bool save_failed_ = false;
  Duration waited_{};               // In collectives, in this step.
  std::uint64_t synchronised_ = 0;  // Times that this loop did.
  double loss_ = 0;                 // Of the last step.
};

}  // namespace muster
