#include <algorithm>

#include "launcher/coordinator/turn.h"

namespace muster {
namespace {

// Of the causes that an orderly end leaves behind: it was better than it looked.
bool IsWeak(const Cause& cause) {
  return cause.kind == CauseKind::kPeerLost || cause.kind == CauseKind::kNodeLost ||
         cause.kind == CauseKind::kJobdLost || cause.kind == CauseKind::kCancelled ||
         cause.kind == CauseKind::kTimeLimit || cause.kind == CauseKind::kClientLost;
}

}  // namespace

void Turn::Hear(const NodeName& node, const JobdStatus& status, bool registering) {
  if (Job* job = Running(status.job)) {
    if (const Member* member = FindMember(*job, node)) {
      return HearMember(*job, *member, status, registering);
    }
  }
  HearStranger(node, status, registering);
}

// A jobd that has no part in what runs: of an ended job, of one that went elsewhere, or idle
// between two attempts.
void Turn::HearStranger(const NodeName& node, const JobdStatus& status, bool registering) {
  const bool left_over = state_.nodes[node].leftovers.contains(status.job);
  if (status.phase == MemberPhase::kGone) {
    if (left_over) Note(LeftoverSwept{status.job, node});
    return;
  }
  const auto job = state_.jobs.find(status.job);
  const bool waits = job != state_.jobs.end() && job->second.phase == JobPhase::kPending &&
                     FindMember(job->second, node) != nullptr;
  if (!waits && (registering || !left_over)) Order(node, EndJob{status.job});
}

void Turn::HearMember(Job& job, const Member& member, const JobdStatus& status, bool registering) {
  const bool in_it = status.attempt == job.attempt->number && status.phase != MemberPhase::kNone;
  if (!in_it) {
    // What was ordered lies before it still, unless it died or a session broke.
    if (registering || status.phase == MemberPhase::kDead) SendWanted(job, member);
    return;
  }
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): Record changes what member is.
  const Member was = member;
  Record(job, member, status);
  if (status.phase == MemberPhase::kLeft && status.cause.kind == CauseKind::kNone) {
    FinishAll(job);
  } else {
    Blame(job, was, status);
  }
  if (registering && !Over(member)) SendWanted(job, member);
}

void Turn::Record(Job& job, const Member& member, const JobdStatus& status) {
  const bool forward = Progress(status.phase) > Progress(member.phase);
  const bool same = Progress(status.phase) == Progress(member.phase);
  if (!forward && !same) return;
  const bool head_is_up =
      member.port == 0 && status.port != 0 && member.host.node == job.attempt->members[0].host.node;
  const std::uint16_t port = status.port != 0 ? status.port : member.port;
  if (forward || port != member.port || status.asked_to_stop != member.asked_to_stop) {
    Note(MemberChanged{job.id, job.attempt->number, member.host.node, status.instance, status.phase,
                       port, status.asked_to_stop});
  }
  if (!head_is_up || job.attempt->stopping) return;
  for (const Member& other : job.attempt->members) SendMeetHead(job, other);
}

// The first failure that is heard of stops the attempt; a later one may explain it better.
void Turn::Blame(Job& job, const Member& was, const JobdStatus& status) {
  if (status.phase == MemberPhase::kDead || status.phase == MemberPhase::kGone) {
    if (VouchesNoMore(was)) return;
    const bool known =
        status.cause.kind != CauseKind::kNone && status.cause.kind != CauseKind::kPeerLost;
    return Stop(job, known ? status.cause
                           : Cause{.kind = CauseKind::kJobdLost,
                                   .node = was.host.node,
                                   .text = "the job daemon died"});
  }
  if (status.cause.kind != CauseKind::kNone) return Stop(job, status.cause);
  if (was.instance != 0 && was.instance != status.instance) {
    Stop(job, {.kind = CauseKind::kJobdLost,
               .node = was.host.node,
               .text = "another job daemon came in its place"});
  }
}

// A jobd leaves without a cause only after the head heard from every host that its ranks left, so
// the word of one stands for all.
void Turn::FinishAll(Job& job) {
  for (const Member& member : job.attempt->members) {
    if (!Over(member)) Change(job, member, MemberPhase::kFinished);
  }
  if (job.attempt->stopping && IsWeak(job.attempt->cause)) {
    Note(AttemptStopped{job.id, job.attempt->number, {}});
  }
}

// A registration that does not list a member's jobd: there is none, nor an order on its way.
void Turn::MissMember(Job& job, const Member& member) {
  if (Over(member) || member.boot_id != state_.nodes[member.host.node].boot_id) return;
  if (!job.attempt->stopping && member.phase == MemberPhase::kNone) {
    return SendWanted(job, member);
  }
  Change(job, member, MemberPhase::kDead);
  Stop(job,
       {.kind = CauseKind::kJobdLost, .node = member.host.node, .text = "the job daemon is gone"});
}

void Turn::MissAll(const NodeName& node, const std::vector<JobdStatus>& listed) {
  const auto missing = [&](JobId job) {
    return std::none_of(listed.begin(), listed.end(),
                        [&](const JobdStatus& status) { return status.job == job; });
  };
  for (auto& [id, job] : state_.jobs) {
    if (job.phase != JobPhase::kRunning || !missing(id)) continue;
    if (const Member* member = FindMember(job, node)) MissMember(job, *member);
  }
  const std::set<JobId> leftovers = state_.nodes[node].leftovers;
  for (const JobId job : leftovers) {
    if (missing(job)) Note(LeftoverSwept{job, node});
  }
}

// No process survives a boot; the records of its daemons do, and are listed.
void Turn::Reboot(const NodeName& node, const std::string& boot_id) {
  for (auto& [id, job] : state_.jobs) {
    if (job.phase != JobPhase::kRunning) continue;
    const Member* member = FindMember(job, node);
    if (member == nullptr || member->boot_id == boot_id || Over(*member)) continue;
    Release(job, *member, node + " rebooted");
    Stop(job, {.kind = CauseKind::kNodeLost, .node = node, .text = "it rebooted"});
  }
}

void Turn::Change(const Job& job, const Member& member, MemberPhase phase) {
  Note(MemberChanged{job.id, job.attempt->number, member.host.node, member.instance, phase,
                     member.port, member.asked_to_stop});
}

void Turn::Release(const Job& job, const Member& member, const std::string& why) {
  Note(MemberReleased{job.id, job.attempt->number, member.host.node, why});
}

// Everything that the member was ordered in this attempt; orders are idempotent.
void Turn::SendWanted(const Job& job, const Member& member) {
  const Attempt& attempt = *job.attempt;
  if (attempt.stopping) {
    return Order(member.host.node, StopAttempt{job.id, attempt.number, StopGrace(job)});
  }
  const auto index = static_cast<std::size_t>(&member - attempt.members.data());
  if (member.phase == MemberPhase::kNone) {
    Order(member.host.node, MakeStartOrder(state_, job, index, limits_));
  }
  SendMeetHead(job, member);
}

void Turn::SendMeetHead(const Job& job, const Member& member) {
  const Member& head = job.attempt->members[0];
  if (&member == &head || head.port == 0 || member.phase > MemberPhase::kStarting) return;
  Order(member.host.node, MeetHead{job.id, job.attempt->number, head.port});
}

void Turn::SendStop(const Job& job) {
  for (const Member& member : job.attempt->members) {
    if (member.released || member.phase >= MemberPhase::kLeft) continue;
    Order(member.host.node, StopAttempt{job.id, job.attempt->number, StopGrace(job)});
  }
}

void Turn::Stop(Job& job, Cause cause) {
  Attempt& attempt = *job.attempt;
  if (attempt.stopping && !Explains(job, cause, attempt.cause)) return;
  const bool first = !attempt.stopping;
  Note(AttemptStopped{job.id, attempt.number, std::move(cause)});
  if (first) SendStop(job);
}

}  // namespace muster
