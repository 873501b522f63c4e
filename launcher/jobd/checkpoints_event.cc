#include "launcher/jobd/checkpoints_event.h"

#include <fcntl.h>

#include <utility>

#include "launcher/jobd/mover_verdicts.h"
#include "runtime/base/log.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

using checkpoint_words::Generation;
using checkpoint_words::SaveEnded;
using checkpoint_words::ShardEnded;
using mover_verdicts::IsLate;
using mover_verdicts::MayRetry;
using mover_verdicts::OfStore;
using mover_verdicts::TextOf;

}  // namespace

Checkpoints::Checkpoints(event_base* base, LinkServices& services, Callbacks callbacks)
    : services_(services), callbacks_(std::move(callbacks)), mover_(base) {}

void Checkpoints::Begin(const StartAttempt& order) {
  End();
  order_ = order;
  active_ = true;
  ++life_;
  mover_.SetStore(order.checkpoint.store, order.run_id,
                  std::chrono::milliseconds(order.checkpoint.deadline_ms));
  claim_due_ = !order.checkpoint.store.empty() && order.host_index == 0;
  MaybeClaim();
}

// A claim ends what the last attempt could still commit: what one node alone has staged is
// committed first, though its rank has died since.
void Checkpoints::MaybeClaim() {
  if (!claim_due_ || finishing_ > 0) return;
  claim_due_ = false;
  Claim();
}

void Checkpoints::End() {
  active_ = false;
  generation_.reset();
  waiting_.clear();
  parts_.clear();
  stagers_.clear();
  tries_.clear();
  saves_.clear();
  askers_.clear();
}

// ---- the generation -----------------------------------------------------------------------------

void Checkpoints::Claim(int deaths) {
  mover_.Ask(mover::Claim{.attempt = order_->attempt},
             [this, life = life_, deaths](const mover::FromMover& answer, const UniqueFd&) {
               MaybeSettled();
               if (life != life_ || !active_) return;
               const auto* claimed = std::get_if<mover::Claimed>(&answer);
               // What a mover that was left behind claims late is another generation.
               const bool again = MayRetry(answer, deaths) || (IsLate(answer) && deaths == 0);
               if (again) return Claim(deaths + 1);
               Generation generation;
               if (claimed != nullptr) {
                 generation.generation = claimed->generation;
                 generation.nonce = claimed->nonce;
               } else {
                 generation.error = TextOf(answer);
                 StoreFailed(generation.error);
               }
               TellAll(generation);
               On(0, generation);
             });
}

void Checkpoints::Welcome(std::uint32_t host_index) {
  if (generation_) Tell(host_index, *generation_);
}

void Checkpoints::On(std::uint32_t, const Generation& message) {
  generation_ = message;
  for (const auto& ready : std::exchange(waiting_, {})) ready();
}

// ---- a save -------------------------------------------------------------------------------------

void Checkpoints::Staged(std::uint32_t local_rank, const link::Staged& part) {
  link::Staged& whole = parts_[local_rank];
  whole.step = part.step;
  whole.memory = part.memory;
  whole.tensors.insert(whole.tensors.end(), part.tensors.begin(), part.tensors.end());
  if (!part.host_state.empty()) whole.host_state = part.host_state;
  if (part.more || !active_) return;
  const link::Staged staged = std::move(parts_.extract(local_rank).mapped());
  if (order_->checkpoint.store.empty()) {
    return services_.Say(local_rank,
                         link::Saved{.step = staged.step, .error = "the job has no store"});
  }
  if (generation_) return Write(local_rank, staged);
  waiting_.emplace_back([this, local_rank, staged] { Write(local_rank, staged); });
}

void Checkpoints::Write(std::uint32_t local_rank, const link::Staged& staged) {
  stagers_[staged.step] = local_rank;
  ShardEnded shard{.step = staged.step,
                   .nonce = generation_->nonce + tries_[staged.step]++,
                   .host_state = staged.host_state,
                   .error = generation_->error};
  if (staged.memory.empty()) {
    shard.error = "node " + order_->hosts[order_->host_index].node +
                  " skipped it: both of its staging memories are still being written";
  }
  AskWrite(shard, staged, 0);
}

void Checkpoints::AskWrite(const ShardEnded& shard, const link::Staged& staged, int deaths) {
  ShardEnded ended = shard;
  const auto block = services_.memory().Find(staged.memory);
  if (ended.error.empty() && !block.ok()) ended.error = block.status().message();
  if (!ended.error.empty()) return ShardDone(ended);
  const mover::Write write{.generation = generation_->generation,
                           .step = staged.step,
                           .nonce = shard.nonce,
                           .node = order_->host_index,
                           .nodes = static_cast<std::uint32_t>(order_->hosts.size()),
                           .tensors = staged.tensors,
                           .again = deaths > 0,
                           .bytes_per_s = order_->checkpoint.bytes_per_s / order_->hosts.size()};
  const std::uint32_t keep = order_->checkpoint.keep;
  reading_.emplace(staged.memory, life_);
  const bool alone = write.nodes == 1;
  if (alone) ++finishing_;
  mover_.Ask(
      write,
      [this, life = life_, shard = ended, staged, deaths, write, keep, alone](
          const mover::FromMover& answer, const UniqueFd&) mutable {
        DoneReading(staged.memory, staged.step);
        const auto* written = std::get_if<mover::Written>(&answer);
        if (written != nullptr) shard.report = written->report;
        const bool over = life != life_ || !active_;
        if (over && alone && written != nullptr) {
          AskCommit(CommitOf(write, {shard.report}, shard.host_state, keep), 0);
        }
        if (alone) --finishing_;
        MaybeSettled();
        if (over) return MaybeClaim();
        if (MayRetry(answer, deaths)) return AskWrite(shard, staged, deaths + 1);
        if (written == nullptr) {
          shard.error = "node " + order_->hosts[order_->host_index].node + ": " + TextOf(answer);
          const auto* failed = std::get_if<mover::Failed>(&answer);
          shard.store_failed = failed == nullptr || OfStore(*failed);
        }
        ShardDone(shard);
      },
      UniqueFd(fcntl(block->fd, F_DUPFD_CLOEXEC, 0)));
}

bool Checkpoints::Reads(std::uint32_t local_rank, const std::string& memory) {
  const auto reader = reading_.find(memory);
  if (reader == reading_.end()) return false;
  if (reader->second != life_) askers_[memory] = local_rank;
  return true;
}

void Checkpoints::DoneReading(const std::string& memory, std::uint64_t step) {
  reading_.erase(reading_.find(memory));
  const auto asker = askers_.find(memory);
  if (asker == askers_.end() || reading_.contains(memory)) return;
  services_.Say(asker->second,
                link::Saved{.step = step, .error = "the attempt that staged it is over"});
  askers_.erase(asker);
}

void Checkpoints::ShardDone(const ShardEnded& shard) {
  if (order_->host_index == 0) return On(0, shard);
  Tell(0, shard);
}

// The head's: every node says once how its part went, then the save is committed or given up.
void Checkpoints::On(std::uint32_t from, const ShardEnded& message) {
  if (!active_ || order_->host_index != 0) return;
  Save& save = saves_[message.step];
  save.ended[from] = message;
  if (save.ended.size() < order_->hosts.size()) return;
  const Save whole = std::move(saves_.extract(message.step).mapped());
  for (const auto& [host, shard] : whole.ended) {
    if (shard.error.empty()) continue;
    EndSave(message.step, shard.error);
    if (shard.store_failed) StoreFailed(shard.error);
    return;
  }
  Commit(message.step, whole);
}

mover::Commit Checkpoints::CommitOf(const mover::Write& write,
                                    std::vector<mover::ShardReport> reports,
                                    const std::string& host_state, std::uint32_t keep) {
  return {.generation = write.generation,
          .step = write.step,
          .nonce = write.nonce,
          .nodes = write.nodes,
          .reports = std::move(reports),
          .host_state = host_state,
          .keep = keep};
}

void Checkpoints::Commit(std::uint64_t step, const Save& save) {
  const ShardEnded& first = save.ended.begin()->second;
  std::vector<mover::ShardReport> reports;
  for (const auto& [host, shard] : save.ended) reports.push_back(shard.report);
  AskCommit(CommitOf({.generation = generation_->generation,
                      .step = step,
                      .nonce = first.nonce,
                      .nodes = static_cast<std::uint32_t>(order_->hosts.size())},
                     std::move(reports), first.host_state, order_->checkpoint.keep),
            0);
}

void Checkpoints::AskCommit(const mover::Commit& commit, int deaths) {
  mover::Commit request = commit;
  request.again = deaths > 0;
  mover_.Ask(request,
             [this, life = life_, commit, deaths](const mover::FromMover& answer, const UniqueFd&) {
               // Committed is committed, also when the attempt is over by now.
               if (std::holds_alternative<mover::Committed>(answer))
                 services_.SetCommitted(commit.step);
               MaybeSettled();
               if (life != life_ || !active_) return;
               if (MayRetry(answer, deaths)) return AskCommit(commit, deaths + 1);
               Committed(commit.step, answer);
             });
}

void Checkpoints::Committed(std::uint64_t step, const mover::FromMover& answer) {
  if (std::holds_alternative<mover::Committed>(answer)) return EndSave(step, "");
  EndSave(step, TextOf(answer));
  const auto* failed = std::get_if<mover::Failed>(&answer);
  if (failed != nullptr && failed->code == Code::kAborted) {
    return callbacks_.failed({.kind = CauseKind::kSuperseded, .text = failed->text});
  }
  if (failed == nullptr || OfStore(*failed)) StoreFailed(TextOf(answer));
}

void Checkpoints::EndSave(std::uint64_t step, const std::string& error) {
  const SaveEnded ended{.step = step, .error = error};
  TellAll(ended);
  On(0, ended);
}

void Checkpoints::On(std::uint32_t, const SaveEnded& message) {
  const auto stager = stagers_.find(message.step);
  if (stager == stagers_.end()) return;
  const std::uint32_t local_rank = stager->second;
  stagers_.erase(stager);
  services_.Say(local_rank, link::Saved{.step = message.step,
                                        .error = message.error,
                                        .optional = !order_->checkpoint.required});
}

void Checkpoints::StoreFailed(const std::string& text) {
  const std::string told = "the store " + order_->checkpoint.store + " failed: " + text;
  if (order_->checkpoint.required) {
    return callbacks_.failed({.kind = CauseKind::kStore, .text = told});
  }
  services_.Note(told + "; the job goes on without this checkpoint");
}

// ---- the other daemons --------------------------------------------------------------------------

void Checkpoints::Tell(std::uint32_t host_index, const checkpoint_words::Message& message) {
  callbacks_.send(host_index, order_->attempt, EncodeVariant(message));
}

void Checkpoints::TellAll(const checkpoint_words::Message& message) {
  for (std::uint32_t host = 1; host < order_->hosts.size(); ++host) Tell(host, message);
}

void Checkpoints::Hear(std::uint32_t from, const std::string& body) {
  const auto message = DecodeVariant<checkpoint_words::Message>(body);
  if (!active_ || !message.ok() || !message->has_value()) return;
  std::visit([&](const auto& m) { On(from, m); }, **message);
}

void Checkpoints::Settle() {
  settling_ = true;
  MaybeSettled();
}

void Checkpoints::MaybeSettled() {
  if (settling_ && !mover_.busy()) {
    settling_ = false;
    callbacks_.settled();
  }
}

}  // namespace muster
