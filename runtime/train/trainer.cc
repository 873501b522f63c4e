#include "runtime/train/trainer.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr double kEmaKeep = 0.95;

}  // namespace

Status Trainer::Run() {
  while (step_ < options_.steps && !stopped_) {
    RETURN_IF_ERROR(Step());
    const bool due = options_.checkpoint_every > 0 && step_ % options_.checkpoint_every == 0;
    if (due) RETURN_IF_ERROR(SaveCheckpoint());
    RETURN_IF_ERROR(TellSaves(Duration::zero()));
    stopped_ = step_ < options_.steps && (stop_seen_ || step_ == options_.stop_after);
  }
  Report(link::Phase::kStopping);
  RETURN_IF_ERROR(SaveCheckpoint());
  return FinishSaves();
}

Status Trainer::Step() {
  ComputeGradients();
  const TimePoint computed = parts_.clock.Now();
  const Recorder::Record record = recorder_.Begin({.seq = ++synchronised_,
                                                   .count = layout_.gradient_elements(),
                                                   .group = recorded_group_,
                                                   .op = RecordedOp::kAllReduce,
                                                   .dtype = kRecordedF32});
  const Status reduced = ReduceGradients();
  recorder_.End(record, reduced.ok());
  RETURN_IF_ERROR(reduced);
  waited_ += parts_.clock.Now() - computed;

  const float* tail = reducer_->result() + layout_.tail();
  const double loss = static_cast<double>(tail[Layout::kTailLoss]) / options_.micro_batches;
  stop_seen_ = tail[Layout::kTailStop] > 0;
  const double sum_of_squares = TreeSum(gradients_.partials());
  if (!std::isfinite(loss) || !std::isfinite(sum_of_squares)) {
    return Status(Code::kInternal, "the loss or the gradient of step " + std::to_string(step_) +
                                       " is not a finite number; the last checkpoint stands");
  }
  // Only now: a rank that dies while gradients travel leaves the state whole.
  state_.header().Set(StateWord::Kind::kUpdating, step_);
  Update(GradientScale(options_.optimizer, sum_of_squares, options_.micro_batches));
  if (leader()) {
    double& ema = state_.header().loss_ema;
    ema = step_ == 0 ? loss : kEmaKeep * ema + (1 - kEmaKeep) * loss;
  }
  RETURN_IF_ERROR(AwaitNode());
  ++step_;
  if (leader()) state_.header().Set(StateWord::Kind::kStable, step_);
  loss_ = loss;
  Report(link::Phase::kTraining);
  return {};
}

// What the arena and the reducer do is, to whoever reads the recorder, one all_reduce.
Status Trainer::ReduceGradients() {
  RETURN_IF_ERROR(barrier_->Wait());
  RETURN_IF_ERROR(reducer_->Reduce());
  return barrier_->Wait();
}

void Trainer::Report(link::Phase phase, std::string note) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(waited_).count();
  waited_ = {};
  parts_.host.Report(
      {.step = step_,
       .loss = step_ == first_step_ ? loss_ema() : loss_,
       .tokens = step_ * options_.micro_batches * parts_.model.tokens_per_micro_batch(),
       .comm_us = static_cast<std::uint64_t>(us),
       .phase = phase,
       .note = std::move(note)},
      loss_ema());
}

void Trainer::ComputeGradients() {
  const RecordedSpan span(recorder_, RecordedOp::kCompute, step_);
  bool first = true;
  for (const AccumulatePlan::Step& todo : accumulate_.steps) {
    float* into = gradients_.slot(topology_.local_rank(), todo.slot);
    if (!todo.compute) {
      AddKernel(into, into, gradients_.slot(topology_.local_rank(), todo.from),
                layout_.gradient_elements());
      continue;
    }
    float* tail = into + layout_.tail();
    std::fill_n(tail, Layout::kTail, 0.0F);
    tail[Layout::kTailLoss] =
        parts_.model.Gradient(step_, todo.micro_batch, layout_, state_.parameters(), into);
    if (std::exchange(first, false) && parts_.host.StopRequested()) tail[Layout::kTailStop] = 1;
  }
}

void Trainer::Update(double gradient_scale) {
  if (topology_.local_rank() >= topology_.lanes()) return;
  const RecordedSpan span(recorder_, RecordedOp::kOptimizer, step_);
  const AdamWUpdate update = MakeUpdate(options_.optimizer, step_, options_.steps, gradient_scale);
  for (std::size_t bucket = topology_.local_rank(); bucket < layout_.buckets();
       bucket += topology_.lanes()) {
    for (const Layout::Piece& piece : layout_.Pieces(layout_.Bucket(bucket))) {
      const std::size_t at = piece.range.begin;
      ApplyAdamW(update, {.parameters = state_.parameters() + at,
                          .exp_avg = state_.exp_avg() + at,
                          .exp_avg_sq = state_.exp_avg_sq() + at,
                          .gradient = reducer_->result() + at,
                          .elements = piece.range.size(),
                          .decay = piece.decay});
    }
  }
}

Status Trainer::AwaitNode() {
  const TimePoint before = parts_.clock.Now();
  const Recorder::Record record = recorder_.Begin(
      {.seq = ++synchronised_, .group = recorded_group_, .op = RecordedOp::kBarrier});
  const Status status = barrier_->Wait();
  recorder_.End(record, status.ok());
  waited_ += parts_.clock.Now() - before;
  return status;
}

Status Trainer::SaveCheckpoint() {
  if (!stager_ || saved_step_ == step_) return {};
  saved_step_ = step_;
  if (leader()) Report(link::Phase::kSaving);
  const RecordedSpan span(recorder_, RecordedOp::kCheckpoint, step_);
  const std::string host_state =
      leader() ? EncodeHostState({.facts = facts_, .step = step_, .loss_ema = loss_ema()}) : "";
  return stager_->Save(step_, state_, host_state, *barrier_);
}

Status Trainer::TellSaves(Duration timeout) {
  if (!stager_ || !leader()) return {};
  auto saves = stager_->Poll(timeout);
  if (!saves.ok()) return std::move(saves).status();
  for (const link::Saved& saved : *saves) {
    const bool failed = !saved.error.empty();
    // Not of an earlier attempt.
    if (saved.step == saved_step_) save_failed_ = failed && !saved.optional;
    if (topology_.node() != 0) continue;
    const std::string which = "checkpoint of step " + std::to_string(saved.step);
    parts_.host.Say(failed ? which + " is NOT committed: " + saved.error : which + " is committed");
  }
  return {};
}

Status Trainer::FinishSaves() {
  constexpr auto kLook = std::chrono::milliseconds(500);
  for (Duration waited{}; stager_ && leader() && stager_->InFlight(); waited += kLook) {
    if (waited > kPeerTimeout) return Status(Code::kDeadline, "the last save does not end");
    RETURN_IF_ERROR(TellSaves(kLook));
  }
  RETURN_IF_ERROR(TellSaves(Duration::zero()));
  if (!save_failed_) return {};
  return Status(Code::kUnavailable, "the last checkpoint could not be committed");
}

}  // namespace muster
