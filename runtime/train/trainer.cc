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
    const Duration patience = options_.skip_busy_saves ? Duration::zero() : kBusyPatience;
    if (due) RETURN_IF_ERROR(SaveCheckpoint(patience));
    RETURN_IF_ERROR(TellSaves(Duration::zero()));
    stopped_ = step_ < options_.steps && (stop_seen_ || step_ == options_.stop_after);
  }
  Report(link::Phase::kStopping);
  RETURN_IF_ERROR(SaveCheckpoint(kPeerTimeout));
  return FinishSaves();
}

Status Trainer::Step() {
  const StateHeader& header = state_.header();
  scale_ = {.scale = header.loss_scale, .good_steps = header.good_steps};
  updates_ = step_ - header.skipped;
  RETURN_IF_ERROR(ComputeAndReduce());
  const Verdict verdict = Judge();
  const bool finite = verdict.broken.empty();
  stop_seen_ = verdict.stop;
  if (!finite && options_.on_nan == OnNan::kStop && !MayBlameScale(options_.loss_scaling, scale_)) {
    return Status(Code::kDataLoss, "step " + std::to_string(step_) + ": " + verdict.broken +
                                       " is not finite (NaN or Inf); nothing was changed, the last "
                                       "checkpoint stands");
  }
  RETURN_IF_ERROR(Change(verdict));
  ++step_;
  if (leader()) state_.header().Set(StateWord::Kind::kStable, step_);
  if (finite || std::isfinite(verdict.loss)) loss_ = verdict.loss;
  if (!finite && leader() && topology_.node() == 0) {
    parts_.host.Say("step " + std::to_string(step_ - 1) + " is skipped: " + verdict.broken +
                    " is not finite (NaN or Inf)");
  }
  ++times_.steps;
  Report(link::Phase::kTraining);
  return {};
}

// What is not finite counts as skipped: the header and the step change, the rest stays.
Status Trainer::Change(const Verdict& verdict) {
  // Only now: a rank that dies while gradients travel leaves the state whole.
  state_.header().Set(StateWord::Kind::kUpdating, step_);
  const TimePoint before = parts_.clock.Now();
  if (verdict.broken.empty()) {
    RETURN_IF_ERROR(Update(GradientScale(options_.optimizer, verdict.sum_of_squares,
                                         topology_.micro_batches(), scale_.scale)));
  }
  times_.optimizer += parts_.clock.Now() - before;
  if (leader()) KeepHeader(verdict);
  return AwaitNode();
}

void Trainer::KeepHeader(const Verdict& verdict) {
  StateHeader& header = state_.header();
  const bool finite = verdict.broken.empty();
  if (finite) {
    double& ema = header.loss_ema;
    ema = updates_ == 0 ? verdict.loss : kEmaKeep * ema + (1 - kEmaKeep) * verdict.loss;
  } else {
    ++header.skipped;
  }
  const ScaleState next = After(options_.loss_scaling, scale_, finite);
  header.loss_scale = next.scale;
  header.good_steps = next.good_steps;
}

std::uint32_t Trainer::FirstMark() const {
  return static_cast<std::uint32_t>((step_ - first_step_) * (layout_.buckets() + 1));
}

Status Trainer::ComputeAndReduce() {
  if (overlapped()) parts_.overlap->Begin([this] { return ReduceBeside(); });
  const float* working = gradients_.working_copy();
  const Status computed =
      pass_->Run({.step = step_,
                  .parameters = working != nullptr ? working : state_.parameters(),
                  .loss_scale = static_cast<float>(scale_.scale),
                  .stop = parts_.host.StopRequested()},
                 [&](std::size_t buckets) {
                   const auto count = static_cast<std::uint32_t>(buckets);
                   if (overlapped()) parts_.overlap->Reach(FirstMark() + count);
                 });
  if (!computed.ok()) {
    if (!overlapped()) return computed;
    parts_.overlap->Cancel(computed);
    parts_.group.abort(computed);
    static_cast<void>(parts_.overlap->End());
    return computed;
  }
  const TimePoint before = parts_.clock.Now();
  if (overlapped()) {
    RETURN_IF_ERROR(parts_.overlap->End());
    RETURN_IF_ERROR(barrier_->Wait());
  } else {
    RETURN_IF_ERROR(ReduceAfterwards());
    times_.communication += parts_.clock.Now() - before;
  }
  waited_ += parts_.clock.Now() - before;
  times_.exposed += parts_.clock.Now() - before;
  return {};
}

// What the arena and the reducer do is, to whoever reads the recorder, one collective.
Recorder::Record Trainer::RecordReduction() {
  return recorder_.Begin(
      {.seq = ++synchronised_,
       .count = layout_.gradient_elements(),
       .group = recorded_group_,
       .op = shards_.sharded() ? RecordedOp::kReduceScatter : RecordedOp::kAllReduce,
       .dtype = kRecordedF32});
}

Status Trainer::ReduceAfterwards() {
  const Recorder::Record record = RecordReduction();
  Status reduced = barrier_->Wait();
  if (reduced.ok()) reduced = reducer_->Reduce();
  if (reduced.ok()) reduced = barrier_->Wait();
  recorder_.End(record, reduced.ok());
  return reduced;
}

// On the communication thread.  For whoever looks for the rank that is behind, the collective
// begins when this rank's own gradients begin to be final.
Status Trainer::ReduceBeside() {
  std::optional<Recorder::Record> record;
  TimePoint start{};
  const auto gate = [&](std::size_t bucket, Duration timeout) -> Status {
    const std::uint32_t mark = FirstMark() + static_cast<std::uint32_t>(bucket) + 1;
    RETURN_IF_ERROR(parts_.overlap->Await(topology_.local_rank(), mark, timeout));
    if (!record) record = RecordReduction();
    for (std::uint32_t r = 0; r < topology_.local_size(); ++r) {
      RETURN_IF_ERROR(parts_.overlap->Await(r, mark, timeout));
    }
    if (start == TimePoint()) start = parts_.clock.Now();
    return {};
  };
  const bool busy =
      topology_.local_rank() < std::min<std::size_t>(topology_.lanes(), layout_.buckets());
  const Status reduced = busy ? reducer_->Reduce(gate) : gate(0, kPeerTimeout);
  if (record) recorder_.End(*record, reduced.ok());
  if (start != TimePoint()) times_.communication += parts_.clock.Now() - start;
  return reduced;
}

Trainer::Verdict Trainer::Judge() const {
  std::vector<double> squares;
  std::int64_t broken = -1;
  for (const BucketSum& sum : gradients_.sums()) {
    squares.push_back(sum.squares);
    if (broken < 0) broken = sum.broken_tensor;
  }
  const float* tail = reducer_->result() + layout_.tail();
  Verdict verdict{.loss = static_cast<double>(tail[Layout::kTailLoss]) / topology_.micro_batches(),
                  .sum_of_squares = TreeSum(squares),
                  .stop = tail[Layout::kTailStop] > 0};
  if (broken >= 0) {
    verdict.broken = "the gradient of " + layout_.tensors()[static_cast<std::size_t>(broken)].name;
  } else if (!std::isfinite(verdict.loss)) {
    verdict.broken = "the loss";
  }
  return verdict;
}

void Trainer::Report(link::Phase phase, std::string note) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(waited_).count();
  waited_ = {};
  parts_.host.Report(
      {.step = step_,
       .loss = step_ == first_step_ ? loss_ema() : loss_,
       .tokens = step_ * topology_.micro_batches() * parts_.model.tokens_per_micro_batch(),
       .comm_us = static_cast<std::uint64_t>(us),
       .phase = phase,
       .note = std::move(note)},
      loss_ema());
}

Status Trainer::Update(double gradient_scale) {
  const RecordedSpan span(recorder_, RecordedOp::kOptimizer, step_);
  const bool in_lane = topology_.local_rank() < topology_.lanes();
  const std::size_t first = in_lane ? topology_.local_rank() : layout_.buckets();
  const AdamWUpdate update =
      MakeUpdate(options_.optimizer, step_, options_.steps, gradient_scale, updates_);
  for (std::size_t bucket = first; bucket < layout_.buckets(); bucket += topology_.lanes()) {
    if (!shards_.Owns(topology_.node(), bucket)) continue;
    for (const Layout::Piece& piece : layout_.Pieces(layout_.Bucket(bucket))) {
      const std::size_t at = piece.range.begin;
      ApplyAdamW(update, {.parameters = state_.parameters() + at,
                          .exp_avg = state_.exp_avg().at(at),
                          .exp_avg_sq = state_.exp_avg_sq().at(at),
                          .gradient = reducer_->result() + at,
                          .elements = piece.range.size(),
                          .decay = piece.decay});
    }
  }
  if (shards_.sharded()) RETURN_IF_ERROR(GatherParameters());
  for (std::size_t bucket = first; bucket < layout_.buckets(); bucket += topology_.lanes()) {
    CopyForModel(layout_.Bucket(bucket));
  }
  return {};
}

Status Trainer::GatherParameters() {
  const TimePoint before = parts_.clock.Now();
  const Recorder::Record record = recorder_.Begin({.seq = ++synchronised_,
                                                   .count = layout_.elements(),
                                                   .group = recorded_group_,
                                                   .op = RecordedOp::kAllGather,
                                                   .dtype = kRecordedF32});
  const Status gathered = reducer_->GatherParameters(state_.parameters());
  recorder_.End(record, gathered.ok());
  const Duration took = parts_.clock.Now() - before;
  waited_ += took;
  times_.communication += took;
  times_.exposed += took;
  times_.optimizer -= took;
  return gathered;
}

void Trainer::CopyForModel(Range range) {
  float* const working = gradients_.working_copy();
  if (working == nullptr) return;
  RoundToBF16(working + range.begin, state_.parameters() + range.begin, range.size());
}

StepTimes Trainer::times() const {
  StepTimes times = times_;
  times.forward = pass_->forward();
  times.backward = pass_->backward();
  return times;
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

HostState Trainer::HostStateNow() const {
  const StateHeader& header = state_.header();
  HostState now{
      .facts = facts_, .step = step_, .loss_ema = header.loss_ema, .skipped = header.skipped};
  if (!options_.loss_scaling.dynamic) return now;
  now.loss_scale = header.loss_scale;
  now.good_steps = header.good_steps;
  return now;
}

Status Trainer::SaveCheckpoint(Duration patience) {
  if (!stager_ || saved_step_ == step_) return {};
  saved_step_ = step_;
  if (leader()) Report(link::Phase::kSaving);
  const RecordedSpan span(recorder_, RecordedOp::kCheckpoint, step_);
  const std::string host_state = leader() ? EncodeHostState(HostStateNow()) : "";
  const auto staged = stager_->Save(step_, state_, host_state, *barrier_, patience);
  if (!staged.ok()) return staged.status();
  if (!*staged) saved_step_.reset();  // The end of the run may try it again.
  return {};
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
