// The job is over: what its last attempt wrote and nobody committed.
//
// No daemon hears of the others any more, so they meet in the store: each puts its part's report
// beside its shard, and the one that wrote the first part commits once all are there.  It waits for
// a while only, since a node may never have staged its part.  What is left then is told, and
// `muster ckpt adopt` takes it, now or when the last part is there.
#include <algorithm>
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

using mover_verdicts::TextOf;

constexpr Duration kPatience = std::chrono::seconds(10);
constexpr Duration kLook = std::chrono::milliseconds(250);

// A mover that died, or a store that was away: the next try may do better.
bool MayPass(const mover::FromMover& answer) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  return failed != nullptr && failed->code == Code::kUnavailable;
}

}  // namespace

// False: something is under way, which calls MaybeSettled when it has ended.
bool Checkpoints::EndLeftovers() {
  if (written_.empty()) return true;
  const Duration deadline = std::chrono::milliseconds(order_->checkpoint.deadline_ms);
  look_until_ =
      RealClock().Now() + (deadline > Duration::zero() ? std::min(kPatience, deadline) : kPatience);
  ++finishing_;  // An answer may come at once, and nothing is settled before all were asked.
  for (const mover::Part& part : std::exchange(written_, {})) {
    ++finishing_;
    KeepInStore(part);
  }
  return --finishing_ == 0;
}

void Checkpoints::KeepInStore(const mover::Part& part) {
  mover_.Ask(mover::KeepPart{part}, [this, part](const mover::FromMover& answer, const UniqueFd&) {
    if (MayPass(answer) && RealClock().Now() < look_until_) {
      return later_.Do(kLook, [this, part] { KeepInStore(part); });
    }
    const bool kept = std::holds_alternative<mover::PartKept>(answer);
    if (kept && part.report.node == 0) return LookForParts(part);
    if (!kept) TellLeft(part, 1, TextOf(answer));
    --finishing_;
    MaybeSettled();
  });
}

void Checkpoints::LookForParts(const mover::Part& first) {
  const auto heard = [this, first](const mover::FromMover& answer, const UniqueFd&) {
    const auto* found = std::get_if<mover::PartsFound>(&answer);
    const std::size_t there = found == nullptr ? 0 : found->parts.size();
    if (there == first.report.nodes) {
      CommitParts(found->parts);
    } else if ((found != nullptr || MayPass(answer)) && RealClock().Now() < look_until_) {
      return later_.Do(kLook, [this, first] { LookForParts(first); });
    } else {
      TellLeft(first, there, found == nullptr ? TextOf(answer) : "");
    }
    --finishing_;
    MaybeSettled();
  };
  mover_.Ask(mover::FindSave{first.save}, heard);
}

// By node; proven by the commit.  A commit that fails is tried again as any other.
void Checkpoints::CommitParts(const std::vector<mover::Part>& parts) {
  const mover::Part& first = parts.front();
  mover::Commit job = CommitOfJob();
  job.topology = first.topology;
  job.metadata = first.metadata;
  std::vector<mover::ShardReport> reports;
  for (const mover::Part& part : parts) reports.push_back(part.report);
  mover::Commit commit = CommitOf({.generation = first.save.generation,
                                   .step = first.save.step,
                                   .nonce = first.save.nonce,
                                   .nodes = first.report.nodes},
                                  std::move(reports), first.host_state, job);
  commit.again = true;  // It may stand already: then only its answer was lost.
  AskCommit(commit, Whose::kEarlier);
}

void Checkpoints::TellLeft(const mover::Part& part, std::size_t there, const std::string& why) {
  const std::string name =
      "g" + std::to_string(part.save.generation) + "-s" + std::to_string(part.save.step);
  const std::string told = "the checkpoint of step " + std::to_string(part.save.step) +
                           " is not committed: " + std::to_string(there) + " of its " +
                           std::to_string(part.report.nodes) + " parts are in the store" +
                           (why.empty() ? "" : " (" + why + ")") +
                           "; once all are, `muster ckpt adopt " + order_->checkpoint.store + " " +
                           order_->run_id + " --commit " + name + "` commits it";
  services_.Note(told);
  Log(LogLevel::kWarning, "job=" + std::to_string(order_->job) + " " + told);
}

}  // namespace muster
