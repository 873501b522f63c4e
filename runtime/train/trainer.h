// The data-parallel training loop of one rank.
//
// The ranks of a node share parameters, optimizer state and gradients in one arena (arena.h).  A
// step: every rank computes its micro-batches | barrier | every lane sums its buckets (reducer.h) |
// barrier | clip by the global norm, AdamW on the lane's buckets | barrier.  All sums have one
// canonical order, so the bits do not depend on the number of ranks and nodes.
//
// Over several nodes, with an Overlap (overlap.h), a second thread of the rank sums a bucket as
// soon as every rank of the node has told it final, while their backward passes go on; the first
// barrier falls away.  From a step's begin to its last bucket the group is that thread's.
//
// An attempt goes on from the newest whole state in some node's memory (with ZeRO-1: from memory if
// every node has its shard of the same step), else from the newest commit, else from the seed.
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
#include "runtime/train/gradient_pass.h"
#include "runtime/train/host_state.h"
#include "runtime/train/memory.h"
#include "runtime/train/model.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/overlap.h"
#include "runtime/train/precision.h"
#include "runtime/train/read_once.h"
#include "runtime/train/reducer.h"
#include "runtime/train/stager.h"
#include "runtime/train/train_options.h"

namespace muster {

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

// Where the time of the steps so far went, on this rank.
struct StepTimes {
  std::uint64_t steps = 0;
  Duration forward{}, backward{}, optimizer{};
  Duration communication{};  // From the first bucket that could be summed to the last sum.
  Duration exposed{};        // The part of it that nothing hid.
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
    Overlap* overlap = nullptr;  // Null: gradients are summed when all backward passes have ended.
  };

  // Collective.  The parts outlive the trainer.  kInvalid: the options, or ranks that cannot work
  // together: fewer micro-batches than ranks, ranks of one node that share no memory.
  static Result<std::unique_ptr<Trainer>> Start(TrainOptions options, Parts parts);

  // Trains to the end, or to the step after which somebody asked to stop.  kDataLoss: the loss or a
  // gradient is not finite, step and tensor are named.
  Status Run();

  bool stopped() const { return stopped_; }
  std::uint64_t step() const { return step_; }
  std::uint64_t first_step() const { return first_step_; }
  double loss_ema() const { return state_.header().loss_ema; }
  // Steps that changed nothing, since the run began (OnNan::kSkip, dynamic loss scaling).
  std::uint64_t skipped() const { return state_.header().skipped; }
  const float* parameters() const { return state_.parameters(); }  // f32: the master weights.
  StepTimes times() const;
  const Layout& layout() const { return layout_; }
  const Topology& topology() const { return topology_; }

 private:
  Trainer(TrainOptions options, Parts parts, Layout layout, Topology topology);

  struct Standing;
  Status OpenMemory();
  Status OpenStager();
  // Collective.  `opened`: how OpenMemory went; if it failed on one rank, every rank fails.
  Status Restore(const Status& opened);
  Result<std::vector<Standing>> Compare(const Status& opened);
  Status CheckShared(const std::vector<Standing>& by_rank) const;
  std::int64_t StepInMemory() const;  // -1: not whole, or of another run.
  std::uint64_t MemoryFingerprint() const;
  Status RestoreFromMemory(std::uint32_t source, std::uint64_t step);
  Result<std::string> RestoreFromCommitOrStart();
  Status RestoreFromCommit(ReadOnce& load, const checkpoint::Manifest& manifest);
  // Ok if every rank is and every node stands at the same step; else every rank fails.
  Status AgreeOnStep(const Status& restored);
  Status MakeWorkingCopy();

  // What the reduction of a step gave.
  struct Verdict {
    double loss = 0;
    double sum_of_squares = 0;
    bool stop = false;   // Some rank was asked to.
    std::string broken;  // "the gradient of h.0.ln_1.bias"; empty: all is finite.
  };

  Status Step();
  Status ComputeAndReduce();
  Recorder::Record RecordReduction();
  Status ReduceAfterwards();
  Status ReduceBeside();
  Verdict Judge() const;
  Status Change(const Verdict& verdict);
  Status Update(double gradient_scale);
  Status GatherParameters();
  void KeepHeader(const Verdict& verdict);
  Status AwaitNode();
  void Report(link::Phase phase, std::string note = {});
  HostState HostStateNow() const;
  Status SaveCheckpoint(Duration patience);
  Status TellSaves(Duration timeout);
  Status FinishSaves();
  bool leader() const { return topology_.leader(); }
  bool overlapped() const { return parts_.overlap != nullptr && topology_.nodes() > 1; }
  std::uint32_t FirstMark() const;
  void CopyForModel(Range range);

  const TrainOptions options_;
  const Parts parts_;
  const Layout layout_;
  const Topology topology_;
  const Shards shards_;
  const RunFacts facts_;  // The options' and the loop's own.

  StateView state_;
  GradientView gradients_;
  std::unique_ptr<Barrier> barrier_;
  std::optional<GradientReducer> reducer_;
  std::optional<CheckpointStager> stager_;
  std::optional<GradientPass> pass_;
  Recorder silent_;
  Recorder& recorder_ = parts_.recorder != nullptr ? *parts_.recorder : silent_;
  const std::uint16_t recorded_group_ = recorder_.AddGroup("training");

  std::uint64_t first_step_ = 0;
  std::uint64_t step_ = 0;
  std::optional<std::uint64_t> saved_step_;
  bool stop_seen_ = false;
  bool stopped_ = false;
  bool save_failed_ = false;
  ScaleState scale_;                // As this step began.
  std::uint64_t updates_ = 0;       // Of the run, as this step began.
  Duration waited_{};               // In collectives, in this step.
  std::uint64_t synchronised_ = 0;  // Times that this loop did.
  double loss_ = 0;                 // Of the last step.
  StepTimes times_;
};

}  // namespace muster
