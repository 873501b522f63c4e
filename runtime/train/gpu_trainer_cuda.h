// The data-parallel training loop of one rank on its GPU: steps (gpu_loop_cuda.h), and around them
// where it begins, its checkpoints, what it tells its host.
//
// It begins at the newest commit, else from the seed: rank 0 has it read, and the others get it
// over the group.  (GPU memory dies with its rank, so there is no going on from memory.)
//
// A save, at a step boundary:
//  1. The leader of each node waits until a staging memory is free, and tells all ranks which.  If
//     some leader finds none in time, the save is skipped.
//  2. Each rank copies its part of its node's shard there, beside the next step.
//  3. A rank whose copy has ended says so in the tail of its next gradient.  Once all have, after
//     the same step on every rank, each leader hands its shard to the sink, which takes its time.
// The last save is waited for.  One thread.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/train/checkpoint.h"
#include "runtime/train/gpu_loop_cuda.h"
#include "runtime/train/gpu_staging_cuda.h"
#include "runtime/train/memory.h"
#include "runtime/train/trainer.h"

namespace muster {

class GpuTrainer {
 public:
  struct Parts {
    GpuDevice& device;
    GpuModel& model;
    ProcessGroup* group = nullptr;   // Of nccl, behind device.compute(); null: one rank.
    Memory& memory;                  // Of this node.
    CheckpointSink* sink = nullptr;  // Only that of a node's leader is used.
    TrainHost& host;
    Clock& clock;
    Place place;
    std::size_t group_elements = GpuSumPlan::kGroupElements;
    Recorder* recorder = nullptr;  // Null: nothing is recorded.
  };

  // Collective.  The parts outlive the trainer.
  static Result<std::unique_ptr<GpuTrainer>> Start(const TrainOptions& options, const Parts& parts);

  // As Trainer::Run.
  Status Run();

  bool stopped() const { return stopped_; }
  std::uint64_t step() const { return progress().step; }
  std::uint64_t first_step() const { return first_step_; }
  const GpuProgress& progress() const { return loop_->progress(); }
  const Layout& layout() const { return loop_->layout(); }
  std::uint32_t micro_batches() const { return loop_->micro_batches(); }
  // Of all steps but the first, which also loads libraries: their time, and that part of it in
  // which the host waited for the GPU.
  std::uint64_t timed_steps() const { return timed_steps_; }
  Duration stepping() const { return stepping_; }
  Duration waited() const { return waited_; }
  // The master weights, on the host.
  Result<std::vector<float>> Parameters();

 private:
  struct Stage {
    std::string name;
    Memory::Region region;
    bool in_use = false;
    std::optional<std::uint64_t> step;  // Unknown when a former attempt's save uses it.
  };
  // What was copied, or is being, and the sink has not got yet.
  struct Save {
    std::size_t stage = 0;
    std::uint64_t step = 0;
    std::string host_state;
    bool copied = false;  // By this rank.
  };

  GpuTrainer(const TrainOptions& options, const Parts& parts) : options_(options), parts_(parts) {}

  Status GatherPlaces();
  Status Open();
  Status OpenStages();
  Status Restore();
  // On rank 0: fills the three arrays of the host.
  Result<GpuProgress> LoadOrStart(std::vector<std::vector<float>>& arrays, std::string* how);
  Status Upload(const std::vector<std::vector<float>>& arrays);
  Status Meet();
  Status Drain();
  Status Step();
  Status BeginSave(Duration patience);
  Result<std::int32_t> ChooseStage(Duration patience);
  Status FinishCopy();
  Status HandOver();
  Result<std::int32_t> AwaitFree(Duration patience);
  Status TellSaves(Duration timeout);
  Status FinishSaves();
  HostState HostStateNow() const;
  void Report(link::Phase phase, double loss, std::string note = {});
  int rank() const { return parts_.group == nullptr ? 0 : parts_.group->rank(); }
  int ranks() const { return parts_.group == nullptr ? 1 : parts_.group->world_size(); }
  bool leader() const { return parts_.place.local_rank == 0; }
  bool saves() const { return options_.checkpoints && shard_.has_value(); }

  const TrainOptions options_;
  const Parts parts_;
  RunFacts facts_;
  std::vector<Place> places_;  // Of all ranks.
  std::unique_ptr<GpuLoop> loop_;
  std::unique_ptr<GpuStaging> staging_;
  std::optional<CheckpointShard> shard_;  // Of this node.
  std::uint32_t local_size_ = 1;
  std::array<Stage, 2> stages_;
  std::optional<Save> save_;
  std::set<std::uint64_t> unended_;  // Steps that were staged, until their saves end.
  std::optional<std::uint64_t> saved_step_;
  bool save_failed_ = false;

  std::uint64_t first_step_ = 0;
  bool stop_seen_ = false;
  bool stopped_ = false;
  double loss_ = 0;
  std::uint64_t timed_steps_ = 0;
  Duration stepping_{}, waited_{};
  Duration waited_now_{};        // In the last step.
  std::byte* bounce_ = nullptr;  // Pinned.
  Recorder silent_;
  Recorder& recorder_ = parts_.recorder != nullptr ? *parts_.recorder : silent_;
};

}  // namespace muster
