// What the last attempt staged and did not commit: it is found, moved on and committed before the
// run is claimed anew (steps 1 and 2 of checkpoint_words.h).
#include <algorithm>
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"

namespace muster {
namespace {

using mover_verdicts::MayRetry;
using mover_verdicts::TextOf;

}  // namespace

// A claim ends what the last attempt could still commit, so first that is ended.
void Checkpoints::MaybeGather() {
  if (!gather_due_ || finishing_ > 0) return;
  gather_due_ = false;
  if (order_->checkpoint.local.empty()) return Gathered({});
  AskFind();
}

void Checkpoints::AskFind(int deaths) {
  local_.Ask(mover::FindParts{},
             [this, life = life_, deaths](const mover::FromMover& answer, const UniqueFd&) {
               MaybeSettled();
               if (life != life_ || !active_) return;
               if (MayRetry(answer, deaths)) return AskFind(deaths + 1);
               if (const auto* found = std::get_if<mover::PartsFound>(&answer)) {
                 return Gathered(found->parts);
               }
               services_.Note("the local store " + order_->checkpoint.local +
                              " cannot be used: " + TextOf(answer));
               Gathered({});
             });
}

void Checkpoints::Gathered(std::vector<mover::Part> local) {
  found_ = std::move(local);
  gathered_ = true;
  if (order_->host_index == 0 || asked_for_parts_) TellParts();
}

void Checkpoints::On(std::uint32_t, const checkpoint_words::AskParts&) {
  asked_for_parts_ = true;
  if (gathered_) TellParts();
}

void Checkpoints::TellParts() {
  const auto say = [this](const auto& message) {
    if (order_->host_index == 0) return On(0, message);
    Tell(0, message);
  };
  for (const mover::Part& part : written_) {
    say(checkpoint_words::HasPart{.part = part, .shared = true});
  }
  for (const mover::Part& part : found_) {
    say(checkpoint_words::HasPart{.part = part, .shared = false});
  }
  say(checkpoint_words::PartsTold{});
}

void Checkpoints::On(std::uint32_t from, const checkpoint_words::HasPart& message) {
  if (!gathering_) return;
  gathering_->table.Add({.host = from, .part = message.part, .shared = message.shared});
}

void Checkpoints::On(std::uint32_t from, const checkpoint_words::PartsTold&) {
  if (!gathering_ || gathering_->silent.erase(from) == 0 || !gathering_->silent.empty()) return;
  for (auto& save : gathering_->table.Whole()) gathering_->whole.push_back(std::move(save));
  NextLeftover();
}

void Checkpoints::NextLeftover() {
  if (gathering_->whole.empty()) {
    gathering_.reset();
    return Claim();
  }
  gathering_->error.clear();
  gathering_->moving.clear();
  const std::vector<LeftoverTable::Holder> save = gathering_->whole.front();
  for (const auto& holder : save) {
    if (!holder.shared) gathering_->moving.insert(holder.host);
  }
  if (gathering_->moving.empty()) return CommitLeftover();
  for (const auto& holder : save) {
    if (holder.shared) continue;
    const checkpoint_words::MoveOn move{.save = holder.part.save};
    if (holder.host == 0) {
      On(0, move);
    } else {
      Tell(holder.host, move);
    }
  }
}

void Checkpoints::On(std::uint32_t from, const checkpoint_words::MoveOn& message) {
  const auto part = std::find_if(found_.begin(), found_.end(),
                                 [&](const auto& p) { return p.save == message.save; });
  if (part != found_.end()) AskMoveOn(from, *part, 0);
}

// A mover that died over it may have left a part of it.
void Checkpoints::AskMoveOn(std::uint32_t head, const mover::Part& part, int deaths) {
  mover_.Ask(
      mover::MovePart{.part = part, .again = true, .bytes_per_s = LimitOfNode()},
      [this, life = life_, head, part, deaths](const mover::FromMover& answer, const UniqueFd&) {
        MaybeSettled();
        if (life != life_ || !active_) return;
        if (MayRetry(answer, deaths)) return AskMoveOn(head, part, deaths + 1);
        const bool moved = std::holds_alternative<mover::Written>(answer);
        if (moved) written_.push_back(part);
        const checkpoint_words::MovedOn told{
            .save = part.save,
            .error =
                moved ? ""
                      : "node " + order_->hosts[order_->host_index].node + ": " + TextOf(answer)};
        if (order_->host_index == 0) return On(0, told);
        Tell(head, told);
      });
}

void Checkpoints::On(std::uint32_t from, const checkpoint_words::MovedOn& message) {
  if (!gathering_ || gathering_->whole.empty() || gathering_->moving.erase(from) == 0) return;
  if (!message.error.empty()) gathering_->error = message.error;
  if (gathering_->moving.empty()) CommitLeftover();
}

void Checkpoints::CommitLeftover() {
  const std::vector<LeftoverTable::Holder>& save = gathering_->whole.front();
  if (!gathering_->error.empty()) {
    return LeftoverCommitted(mover::Failed{.code = Code::kUnavailable, .text = gathering_->error});
  }
  const mover::SaveName& name = save.front().part.save;
  std::vector<mover::ShardReport> reports;
  for (const auto& holder : save) reports.push_back(holder.part.report);
  mover::Commit job = CommitOfJob();
  job.topology = save.front().part.topology;
  job.metadata = save.front().part.metadata;
  mover::Commit commit = CommitOf({.generation = name.generation,
                                   .step = name.step,
                                   .nonce = name.nonce,
                                   .nodes = static_cast<std::uint32_t>(save.size())},
                                  std::move(reports), save.front().part.host_state, job);
  commit.again = true;  // It may stand already: then only its answer was lost.
  AskCommit(commit, Whose::kLeftover);
}

void Checkpoints::LeftoverCommitted(const mover::FromMover& answer) {
  const std::string step = std::to_string(gathering_->whole.front().front().part.save.step);
  const bool committed = std::holds_alternative<mover::Committed>(answer);
  const auto* failed = std::get_if<mover::Failed>(&answer);
  const bool surpassed = failed != nullptr && failed->code == Code::kExists;
  if (!surpassed) {  // By a newer commit.
    services_.Note("the checkpoint of step " + step + ", staged by an earlier attempt, is " +
                   (committed ? "committed" : "lost: " + TextOf(answer)));
  }
  gathering_->whole.pop_front();
  NextLeftover();
}

}  // namespace muster
