// The head commits what every node has written, and tries again when the store was away for a
// moment.
#include <algorithm>
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"
#include "launcher/jobd/save_texts.h"
#include "runtime/base/clock.h"

namespace muster {
namespace {

using checkpoint_words::ShardEnded;
using mover_verdicts::MayRetry;
using mover_verdicts::OfStore;
using mover_verdicts::TextOf;

}  // namespace

// The head's: every node says once how its part went, then the save is committed or given up.
void Checkpoints::On(std::uint32_t from, const ShardEnded& message) {
  if (!active_ || order_->host_index != 0) return;
  if (const auto why = saves_.WhyGivenUp(from, message)) return EndSave(message.step, *why);
  On(from, checkpoint_words::SaveCame{.step = message.step});
  const auto whole = saves_.End(from, message);
  if (!whole) return GiveUp(saves_.GiveUp(RealClock().Now()));
  for (const auto& [host, shard] : *whole) {
    if (shard.error.empty()) continue;
    EndSave(message.step, shard.error);
    if (shard.store_failed) StoreFailed(shard.error);
    return;
  }
  Commit(message.step, *whole);
}

// What the first to come allow the others counts.
void Checkpoints::On(std::uint32_t from, const checkpoint_words::SaveCame& message) {
  if (!active_ || order_->host_index != 0) return;
  const Duration wait = HeadSaves::Wait(message.timeout_ms, order_->checkpoint.deadline_ms);
  const TimePoint deadline = RealClock().Now() + wait;
  if (!saves_.Came(from, message.step, deadline) || order_->hosts.size() == 1) return;
  later_.Do(wait, [this, life = life_] {
    if (life == life_ && active_) GiveUp(saves_.GiveUp(RealClock().Now()));
  });
}

void Checkpoints::On(std::uint32_t from, const checkpoint_words::NoMoreSaves& /*message*/) {
  if (!active_ || order_->host_index != 0) return;
  saves_.NoMore(from);
  GiveUp(saves_.GiveUp(RealClock().Now()));
  loads_.NoMore(from);
  EndLoads();
}

void Checkpoints::GiveUp(const std::vector<HeadSaves::GivenUp>& saves) {
  for (const HeadSaves::GivenUp& save : saves) {
    services_.Note("step " + std::to_string(save.step) + " is not saved: " + save.error);
    EndSave(save.step, save.error);
  }
}

mover::Commit Checkpoints::CommitOfJob() const {
  return {.topology = TopologyText(*order_),
          .keep = order_->checkpoint.keep,
          .keep_also = order_->checkpoint.keep_also,
          .metadata = MetadataText(*order_)};
}

mover::Commit Checkpoints::CommitOf(const mover::Write& write,
                                    std::vector<mover::ShardReport> reports,
                                    const std::string& host_state, const mover::Commit& job) {
  mover::Commit commit = job;
  commit.generation = write.generation;
  commit.step = write.step;
  commit.nonce = write.nonce;
  commit.nodes = write.nodes;
  commit.reports = std::move(reports);
  commit.host_state = host_state;
  return commit;
}

void Checkpoints::Commit(std::uint64_t step, const HeadSaves::Ended& ended) {
  const ShardEnded& first = ended.begin()->second;
  for (const auto& [host, shard] : ended) {
    if (shard.common != first.common) return EndSave(step, checkpoint_words::kNotCommon);
    if (shard.nonce == first.nonce) continue;
    return EndSave(step,
                   "the nodes have not tried to save it equally often: no part of one try is "
                   "committed with one of another");
  }
  std::vector<mover::ShardReport> reports;
  for (const auto& [host, shard] : ended) reports.push_back(shard.report);
  AskCommit(CommitOf({.generation = generation_->generation,
                      .step = step,
                      .nonce = first.nonce,
                      .nodes = static_cast<std::uint32_t>(order_->hosts.size())},
                     std::move(reports), first.host_state, CommitOfJob()),
            Whose::kOurs);
}

void Checkpoints::AskCommit(const mover::Commit& commit, Whose whose) {
  ++finishing_;
  SendCommit(std::make_shared<Committing>(
      Committing{.life = life_, .commit = commit, .whose = whose, .tries = {}}));
}

void Checkpoints::SendCommit(const CommittingPtr& commit, int deaths) {
  mover::Commit request = commit->commit;
  request.again = request.again || deaths > 0 || commit->tries.failed > 0;
  mover_.Ask(request, [this, commit, deaths](const mover::FromMover& answer, const UniqueFd&) {
    if (MayRetry(answer, deaths)) return SendCommit(commit, deaths + 1);
    if (TryLater(commit, answer)) return;
    mover::FromMover told = answer;
    auto* failed = std::get_if<mover::Failed>(&told);
    if (failed != nullptr && commit->tries.failed > 0) {
      failed->text += " (after " + std::to_string(commit->tries.failed + 1) + " tries)";
    }
    CommitEnded(*commit, told);
  });
}

// The same save by the same name: whether an earlier try was in time after all, the next one sees.
bool Checkpoints::TryLater(const CommittingPtr& commit, const mover::FromMover& answer) {
  const TimePoint now = RealClock().Now();
  const auto wait = WaitForNextTry(answer, commit->tries, now,
                                   std::chrono::milliseconds(order_->checkpoint.deadline_ms));
  if (!wait) return false;
  if (commit->tries.failed++ == 0) {
    commit->tries.first_failed = now;
    services_.Note("the checkpoint of step " + std::to_string(commit->commit.step) +
                   " is written, not yet committed, and tried again: " + TextOf(answer));
  }
  later_.Do(*wait, [this, commit] { SendCommit(commit); });
  return true;
}

void Checkpoints::CommitEnded(const Committing& commit, const mover::FromMover& answer) {
  // Committed is committed, also when the attempt is over by now.
  if (std::holds_alternative<mover::Committed>(answer)) {
    services_.SetCommitted(commit.commit.step);
    std::erase_if(written_, [&](const mover::Part& part) {
      return part.save.generation == commit.commit.generation &&
             part.save.step == commit.commit.step;
    });
  }
  --finishing_;
  const bool over = commit.life != life_ || !active_;
  if (!over && commit.whose == Whose::kOurs) Committed(commit.commit.step, answer);
  if (!over && commit.whose == Whose::kLeftover) LeftoverCommitted(answer);
  const auto* failed = std::get_if<mover::Failed>(&answer);
  const bool surpassed = failed != nullptr && failed->code == Code::kExists;  // By a newer one.
  if (failed != nullptr && !surpassed && commit.whose == Whose::kEarlier) {
    services_.Note("the checkpoint of step " + std::to_string(commit.commit.step) +
                   ", staged by an attempt that is over, is not committed: " + TextOf(answer));
  }
  MaybeGather();
  MaybeSettled();
}

void Checkpoints::Committed(std::uint64_t step, const mover::FromMover& answer) {
  if (std::holds_alternative<mover::Committed>(answer)) {
    EndSave(step, "");
    // They can never be committed now (D6), so nobody waits any longer for nodes that have no part.
    for (const auto& older : saves_.GiveUpOlder(step)) EndSave(older.step, older.error);
    return;
  }
  EndSave(step, TextOf(answer));
  const auto* failed = std::get_if<mover::Failed>(&answer);
  if (failed != nullptr && failed->code == Code::kAborted) {
    return callbacks_.failed({.kind = CauseKind::kSuperseded, .text = failed->text});
  }
  if (failed == nullptr || OfStore(*failed)) StoreFailed(TextOf(answer));
}

}  // namespace muster
