#include <algorithm>

#include "launcher/coordinator/schedule.h"
#include "launcher/coordinator/turn.h"

namespace muster {

// What follows from the state alone.  Ended attempts free slots before anything is placed.
void Turn::Settle() {
  for (auto& [id, job] : state_.jobs) {
    if (job.phase == JobPhase::kRunning) SettleAttempt(job);
  }
  for (auto& [id, job] : state_.jobs) {
    if (job.phase == JobPhase::kPending) TryToPlace(job);
  }
}

void Turn::SettleAttempt(Job& job) {
  if (now_ >= TimeLimit(job)) {
    const Cause cause{.kind = CauseKind::kTimeLimit, .text = "the time limit was reached"};
    if (!job.cancel) Note(JobCancelAsked{job.id, cause});
    Stop(job, cause);
  }
  MindLostNodes(job);
  MindTheFence(job);
  if (AllOver(*job.attempt)) EndAttempt(job);
}

// A lost node stops nothing that runs: its agent may just be dead.  It does stop what still needs
// the agent to come up.
void Turn::MindLostNodes(Job& job) {
  for (const Member& member : job.attempt->members) {
    if (Over(member) || !state_.nodes[member.host.node].lost) continue;
    const Cause cause{
        .kind = CauseKind::kNodeLost, .node = member.host.node, .text = "it fell silent"};
    const Cause& known = job.attempt->cause;
    const bool starting = member.phase < MemberPhase::kRunning;
    const bool explains = job.attempt->stopping && known.kind == CauseKind::kPeerLost &&
                          known.node == member.host.node;
    if (explains || (!job.attempt->stopping && starting)) Stop(job, cause);
  }
}

// D13: once one member vouches no more, the others are told or have fenced themselves a fence time
// later; the margin is for killing.
void Turn::MindTheFence(Job& job) {
  Attempt& attempt = *job.attempt;
  const std::vector<Member>& members = attempt.members;
  if (!attempt.stopping || AllOver(attempt)) return;
  if (!attempt.fence_from && std::any_of(members.begin(), members.end(), VouchesNoMore)) {
    Note(FenceBegan{job.id, attempt.number, now_});
  }
  if (now_ < FenceDeadline(attempt, limits_)) return;
  for (const Member& member : members) {
    if (Over(member) || !state_.nodes[member.host.node].lost) continue;
    Release(job, member, "its node is lost, and the fence time has passed");
  }
}

// Whoever is to fence itself may have been paused as well: its time begins anew.
void Turn::On(const Stalled&) {
  for (const auto& [id, job] : state_.jobs) {
    if (job.phase != JobPhase::kRunning || !job.attempt->fence_from) continue;
    Note(FenceBegan{id, job.attempt->number, now_});
  }
}

void Turn::EndAttempt(Job& job) {
  const Verdict verdict = Judge(job);
  Note(AttemptEnded{job.id, job.attempt->number, verdict.again});
  if (!verdict.again) EndJobNow(job, verdict);
}

void Turn::EndJobNow(Job& job, const Verdict& verdict) {
  Note(JobEnded{job.id, verdict.outcome, verdict.exit_code, verdict.cause});
  for (const auto& [name, node] : state_.nodes) {
    if (node.leftovers.contains(job.id)) Order(name, EndJob{job.id});
  }
}

void Turn::TryToPlace(Job& job) {
  if (job.cancel) {
    return EndJobNow(job, {.outcome = Outcome::kCancelled, .exit_code = 143, .cause = *job.cancel});
  }
  if (!WaitsForRun(state_, job).empty()) return;
  Placement placement = Place(ViewFor(state_, job), WishOf(job.spec));
  if (placement.hosts.empty()) return;
  std::vector<std::string> boot_ids;
  for (const Host& host : placement.hosts) boot_ids.push_back(state_.nodes[host.node].boot_id);
  Note(AttemptPlaced{job.id, job.next_attempt, std::move(placement.hosts), std::move(boot_ids),
                     now_});
  for (std::size_t i = 0; i < job.attempt->members.size(); ++i) {
    Order(job.attempt->members[i].host.node, MakeStartOrder(state_, job, i, limits_));
  }
  for (const auto& [name, node] : state_.nodes) {
    if (node.leftovers.contains(job.id)) Order(name, EndJob{job.id});
  }
}

}  // namespace muster
