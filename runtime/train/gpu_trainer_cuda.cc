#include "runtime/train/gpu_trainer_cuda.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"

namespace muster {

Status GpuTrainer::Run() {
  while (step() < options_.steps && !stopped_) {
    RETURN_IF_ERROR(Step());
    const bool due = options_.checkpoint_every > 0 && step() % options_.checkpoint_every == 0;
    const Duration patience = options_.skip_busy_saves ? Duration::zero() : kBusyPatience;
    if (due) RETURN_IF_ERROR(BeginSave(patience));
    RETURN_IF_ERROR(TellSaves(Duration::zero()));
    stopped_ = step() < options_.steps && (stop_seen_ || step() == options_.stop_after);
  }
  Report(link::Phase::kStopping, loss_);
  RETURN_IF_ERROR(BeginSave(kPeerTimeout));
  return FinishSaves();
}

Status GpuTrainer::Step() {
  if (save_ && !save_->copied) {
    const auto ended = staging_->TakeEnd();
    if (!ended.ok()) return ended.status();
    save_->copied = *ended;
  }
  const bool staged = save_ && save_->copied;
  const std::uint64_t number = step();
  const TimePoint before = parts_.clock.Now();
  const Duration waited = loop_->waited();
  const Recorder::Record span = recorder_.Begin({.seq = number, .op = RecordedOp::kCompute});
  auto end = loop_->Step({.stop = parts_.host.StopRequested(), .staged = staged ? 1.0F : 0.0F});
  recorder_.End(span, end.ok());
  if (!end.ok()) return std::move(end).status();
  waited_now_ = loop_->waited() - waited;
  if (number > first_step_) {
    ++timed_steps_;
    stepping_ += parts_.clock.Now() - before;
    waited_ += waited_now_;
  }
  const GpuVerdict& verdict = end->verdict;
  stop_seen_ = verdict.stop;
  if (std::isfinite(verdict.loss)) loss_ = verdict.loss;
  if (!verdict.update && rank() == 0) {
    parts_.host.Say("step " + std::to_string(number) + " is skipped: " + verdict.broken +
                    " is not finite (NaN or Inf)");
  }
  if (staged && end->staged == static_cast<float>(ranks())) RETURN_IF_ERROR(HandOver());
  Report(link::Phase::kTraining, loss_);
  return {};
}

void GpuTrainer::Report(link::Phase phase, double loss, std::string note) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(waited_now_).count();
  waited_now_ = {};
  parts_.host.Report({.step = step(),
                      .loss = loss,
                      .tokens = step() * micro_batches() * parts_.model.tokens_per_micro_batch(),
                      .comm_us = static_cast<std::uint64_t>(us),
                      .phase = phase,
                      .note = std::move(note)},
                     progress().loss_ema);
}

// ---- Saves --------------------------------------------------------------------------------------

HostState GpuTrainer::HostStateNow() const {
  const GpuProgress& now = progress();
  HostState state{
      .facts = facts_, .step = now.step, .loss_ema = now.loss_ema, .skipped = now.skipped};
  if (!options_.loss_scaling.dynamic) return state;
  state.loss_scale = now.scale.scale;
  state.good_steps = now.scale.good_steps;
  return state;
}

Status GpuTrainer::Meet() {
  return parts_.group == nullptr ? Status() : parts_.group->barrier();
}

// The last save may still be on its way to the host: then it is waited for.
Status GpuTrainer::BeginSave(Duration patience) {
  if (!options_.checkpoints || saved_step_ == step()) return {};
  RETURN_IF_ERROR(FinishCopy());
  if (leader()) Report(link::Phase::kSaving, loss_);
  const RecordedSpan span(recorder_, RecordedOp::kCheckpoint, step());
  const auto stage = ChooseStage(patience);
  if (!stage.ok()) return stage.status();
  if (*stage < 0) return saves() && leader() ? parts_.sink->Skip(step()) : Status();
  saved_step_ = step();
  save_ = Save{.stage = static_cast<std::size_t>(*stage),
               .step = step(),
               .host_state = leader() ? EncodeHostState(HostStateNow()) : "",
               .copied = !saves()};
  if (!saves()) return {};
  std::vector<GpuStaging::Run> runs;
  for (const CheckpointShard::Run& run : shard_->runs) {
    runs.push_back({loop_->arrays()[run.array] + run.offset, run.elements});
  }
  const std::size_t bytes = shard_->bytes();
  const auto local = static_cast<std::size_t>(parts_.place.local_rank);
  const Range part = {.begin = bytes * local / local_size_,
                      .end = bytes * (local + 1) / local_size_};
  RETURN_IF_ERROR(staging_->Begin(runs, part, stages_[save_->stage].region.bytes.data()));
  loop_->HoldUpdate(staging_->copied());
  return {};
}

// The index of the memory that this node's leader found free; -1: some leader found none.
Result<std::int32_t> GpuTrainer::ChooseStage(Duration patience) {
  std::int32_t mine = 0;
  if (saves() && leader()) {
    const auto free = AwaitFree(patience);
    if (!free.ok()) return free.status();
    mine = *free;
  }
  std::vector<std::int32_t> all = {mine};
  if (parts_.group != nullptr) {
    all.resize(places_.size());
    RETURN_IF_ERROR(parts_.group->all_gather(std::span(&mine, 1), all));
  }
  if (std::find(all.begin(), all.end(), -1) != all.end()) return -1;
  const auto leads = std::find(places_.begin(), places_.end(), Place{.node = parts_.place.node});
  CHECK(leads != places_.end());
  return all[static_cast<std::size_t>(leads - places_.begin())];
}

Status GpuTrainer::FinishCopy() {
  if (!save_) return {};
  const TimePoint deadline = parts_.clock.Now() + kPeerTimeout;
  while (!save_->copied) {
    const auto ended = staging_->TakeEnd();
    if (!ended.ok()) return ended.status();
    save_->copied = *ended;
    if (save_->copied) break;
    if (parts_.clock.Now() >= deadline) {
      return Status(Code::kDeadline, "the copy of step " + std::to_string(save_->step) +
                                         " from the GPU does not end");
    }
    PauseShort();
  }
  RETURN_IF_ERROR(Meet());
  return HandOver();
}

// Every rank has copied its part.
Status GpuTrainer::HandOver() {
  const Save save = *std::exchange(save_, std::nullopt);
  if (!saves() || !leader()) return {};
  Stage& stage = stages_[save.stage];
  stage.in_use = true;
  stage.step = save.step;
  unended_.insert(save.step);
  return parts_.sink->Save({.step = save.step,
                            .memory = stage.name,
                            .bytes = stage.region.bytes.first(shard_->bytes()),
                            .tensors = shard_->boxes,
                            .host_state = save.host_state});
}

Result<std::int32_t> GpuTrainer::AwaitFree(Duration patience) {
  constexpr Duration kLook = std::chrono::milliseconds(500);
  for (Duration waited{};; waited += kLook) {
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      if (!stages_[i].in_use) return static_cast<std::int32_t>(i);
    }
    if (waited > patience) return -1;
    RETURN_IF_ERROR(TellSaves(std::min(kLook, patience)));
  }
}

Status GpuTrainer::TellSaves(Duration timeout) {
  if (!saves() || !leader()) return {};
  auto saved = parts_.sink->Poll(timeout);
  if (!saved.ok()) return std::move(saved).status().While("waiting for a save");
  for (const link::Saved& one : *saved) {
    // The stage of that step, or else the one that a former attempt left in use.
    const auto is = [&](std::optional<std::uint64_t> step) {
      return std::find_if(stages_.begin(), stages_.end(),
                          [&](const Stage& s) { return s.in_use && s.step == step; });
    };
    auto stage = is(one.step);
    if (stage == stages_.end()) stage = is(std::nullopt);
    if (stage != stages_.end()) stage->in_use = false;
    if (one.local) continue;
    unended_.erase(one.step);
    const bool failed = !one.error.empty();
    if (one.step == saved_step_) save_failed_ = failed && !one.optional;
    if (rank() != 0) continue;
    const std::string which = "checkpoint of step " + std::to_string(one.step);
    parts_.host.Say(failed ? which + " is NOT committed: " + one.error : which + " is committed");
  }
  return {};
}

Status GpuTrainer::FinishSaves() {
  constexpr Duration kLook = std::chrono::milliseconds(500);
  RETURN_IF_ERROR(FinishCopy());
  const auto in_flight = [this] {
    return !unended_.empty() ||
           std::any_of(stages_.begin(), stages_.end(), [](const Stage& s) { return s.in_use; });
  };
  for (Duration waited{}; in_flight(); waited += kLook) {
    if (waited > kPeerTimeout) return Status(Code::kDeadline, "the last save does not end");
    RETURN_IF_ERROR(TellSaves(kLook));
  }
  RETURN_IF_ERROR(TellSaves(Duration::zero()));
  if (!save_failed_) return {};
  return Status(Code::kUnavailable, "the last checkpoint could not be committed");
}

}  // namespace muster
