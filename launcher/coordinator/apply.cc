#include "launcher/coordinator/attempt.h"
#include "launcher/coordinator/facts.h"
#include "runtime/base/check.h"

namespace muster {
namespace {

Job& JobOf(State& state, JobId id) {
  const auto found = state.jobs.find(id);
  CHECK(found != state.jobs.end());
  return found->second;
}

Attempt& AttemptOf(State& state, JobId id, AttemptNumber number) {
  Job& job = JobOf(state, id);
  CHECK(job.attempt && job.attempt->number == number);
  return *job.attempt;
}

Member& MemberOf(State& state, JobId id, AttemptNumber number, const NodeName& node) {
  for (Member& member : AttemptOf(state, id, number).members) {
    if (member.host.node == node) return member;
  }
  CheckFailed(__FILE__, __LINE__, "a fact names a node that is no member");
}

// The jobds of an attempt whose nodes are not in the next one are to be swept.
void LeaveBehind(State& state, const Job& job, const std::vector<Host>& kept) {
  if (!job.attempt) return;
  for (const Member& member : job.attempt->members) {
    bool stays = member.phase == MemberPhase::kGone;
    for (const Host& host : kept) stays = stays || host.node == member.host.node;
    if (!stays) state.nodes[member.host.node].leftovers.insert(job.id);
  }
}

void On(State& state, const CoordinatorStarted& fact) {
  state.cluster = fact.cluster;
  ++state.lives;
  for (auto& [id, job] : state.jobs) {
    if (!job.attempt) continue;
    if (job.attempt->fence_from) job.attempt->fence_from = fact.at;
    if (job.attempt->started_at) job.attempt->started_at = fact.at;
  }
}

void On(State& state, const NodeRegistered& fact) {
  Node& node = state.nodes[fact.name];
  node.name = fact.name;
  node.addresses = fact.addresses;
  node.block = fact.block;
  node.leaf = fact.leaf;
  node.spine = fact.spine;
  node.slots = fact.slots;
  if (fact.incarnation == 0) return;
  node.incarnation = fact.incarnation;
  node.boot_id = fact.boot_id;
  node.lost = false;
}

void On(State& state, const NodeWasLost& fact) {
  state.nodes[fact.name].lost = true;
}

void On(State& state, const NodeWasFound& fact) {
  state.nodes[fact.name].lost = false;
}

void On(State& state, const NodeDrainSet& fact) {
  state.nodes[fact.name].drained = fact.reason;
}

void On(State& state, const JobAccepted& fact) {
  CHECK(!state.jobs.contains(fact.job));
  Job& job = state.jobs[fact.job];
  job.id = fact.job;
  job.submit_key = fact.submit_key;
  job.run_id = fact.run_id;
  job.job_key = fact.job_key;
  job.spec = fact.spec;
  job.owner = fact.owner;
  if (!fact.submit_key.empty()) state.submit_keys[fact.submit_key] = fact.job;
  state.next_job = fact.job + 1;
}

void On(State& state, const JobCancelAsked& fact) {
  Job& job = JobOf(state, fact.job);
  job.cancel = fact.cause;
  if (fact.sets_grace) job.spec.grace_ms = fact.grace_ms;
}

void On(State& state, const AttemptPlaced& fact) {
  Job& job = JobOf(state, fact.job);
  CHECK(job.phase == JobPhase::kPending && fact.attempt == job.next_attempt);
  CHECK(fact.hosts.size() == fact.boot_ids.size());
  LeaveBehind(state, job, fact.hosts);
  Attempt attempt{.number = fact.attempt, .started_at = fact.at};
  for (std::size_t i = 0; i < fact.hosts.size(); ++i) {
    attempt.members.push_back({.host = fact.hosts[i], .boot_id = fact.boot_ids[i]});
  }
  job.attempt = std::move(attempt);
  job.next_attempt = fact.attempt + 1;
  job.phase = JobPhase::kRunning;
}

void On(State& state, const MemberChanged& fact) {
  Member& member = MemberOf(state, fact.job, fact.attempt, fact.node);
  member.instance = fact.instance;
  member.phase = fact.phase;
  member.port = fact.port;
  member.asked_to_stop = member.asked_to_stop || fact.asked_to_stop;
  if (fact.phase >= MemberPhase::kLeft) member.vouches_no_more = true;
  if (fact.phase >= MemberPhase::kRunning && fact.phase <= MemberPhase::kStopping) {
    JobOf(state, fact.job).attempt->running = true;
  }
}

void On(State& state, const MemberReleased& fact) {
  MemberOf(state, fact.job, fact.attempt, fact.node).released = true;
}

void On(State& state, const FenceBegan& fact) {
  AttemptOf(state, fact.job, fact.attempt).fence_from = fact.at;
}

void On(State& state, const AttemptStopped& fact) {
  Attempt& attempt = AttemptOf(state, fact.job, fact.attempt);
  attempt.stopping = true;
  attempt.cause = fact.cause;
}

void On(State& state, const AttemptEnded& fact) {
  Job& job = JobOf(state, fact.job);
  CHECK(job.phase == JobPhase::kRunning && AllOver(AttemptOf(state, fact.job, fact.attempt)));
  job.phase = JobPhase::kPending;
  job.cause = job.attempt->cause;
  if (fact.counts_as_restart) ++job.restarts;
}

void On(State& state, const JobEnded& fact) {
  Job& job = JobOf(state, fact.job);
  CHECK(job.phase == JobPhase::kPending);
  LeaveBehind(state, job, {});
  job.phase = JobPhase::kEnded;
  job.outcome = fact.outcome;
  job.exit_code = fact.exit_code;
  job.cause = fact.cause;
}

void On(State& state, const LeftoverSwept& fact) {
  state.nodes[fact.node].leftovers.erase(fact.job);
}

}  // namespace

void Apply(State& state, const Fact& fact) {
  std::visit([&](const auto& f) { On(state, f); }, fact);
}

}  // namespace muster
