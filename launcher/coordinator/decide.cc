#include "launcher/coordinator/decide.h"

#include <algorithm>

#include "launcher/coordinator/schedule.h"
#include "launcher/coordinator/turn.h"

namespace muster {
namespace {

constexpr std::int32_t kKill = 9;

std::string Named(JobId job) {
  return "job " + std::to_string(job);
}

// What the agent does not know of its node is kept from the cluster file.
NodeRegistered Merge(NodeRegistered node, const Node& known) {
  if (node.addresses.empty()) node.addresses = known.addresses;
  if (node.block.empty()) node.block = known.block;
  if (node.leaf.empty()) node.leaf = known.leaf;
  if (node.spine.empty()) node.spine = known.spine;
  if (node.slots == 0) node.slots = known.slots;
  return node;
}

bool SaysNothingNew(const NodeRegistered& node, const Node& known) {
  return node.addresses == known.addresses && node.block == known.block &&
         node.leaf == known.leaf && node.spine == known.spine && node.slots == known.slots;
}

}  // namespace

void Turn::Order(const NodeName& node, muster::Order order) {
  decision_.effects.emplace_back(SendOrder{node, state_.nodes[node].incarnation, std::move(order)});
}

Job* Turn::Running(JobId id) {
  const auto found = state_.jobs.find(id);
  if (found == state_.jobs.end() || found->second.phase != JobPhase::kRunning) return nullptr;
  return &found->second;
}

void Turn::On(const CoordinatorBegan& event) {
  Note(CoordinatorStarted{event.cluster, now_});
  for (const NodeRegistered& node : event.nodes) {
    const auto known = state_.nodes.find(node.name);
    const Node nobody;
    const Node& before = known == state_.nodes.end() ? nobody : known->second;
    NodeRegistered merged = Merge(node, before);
    merged.incarnation = 0;
    if (known == state_.nodes.end() || !SaysNothingNew(merged, before)) Note(std::move(merged));
  }
  if (event.nodes.empty()) return;
  // One that the file names no more may not register: it gets no work while its lease lasts.
  std::vector<NodeName> gone;
  for (const auto& [name, node] : state_.nodes) {
    const auto same = [&name = name](const NodeRegistered& listed) { return listed.name == name; };
    if (!node.lost && std::none_of(event.nodes.begin(), event.nodes.end(), same)) {
      gone.push_back(name);
    }
  }
  for (const NodeName& name : gone) Note(NodeWasLost{name});
}

void Turn::On(const JobSubmitted& event) {
  const auto known = state_.submit_keys.find(event.submit_key);
  if (known != state_.submit_keys.end()) {
    decision_.accepted = known->second;
    return;
  }
  if (event.spec.program.argv.empty()) return Answer(Code::kInvalid, "no program is named");
  if (event.spec.nodes == 0) return Answer(Code::kInvalid, "nodes is 0; a job needs at least 1");
  if (event.spec.min_nodes > event.spec.nodes) {
    return Answer(Code::kInvalid, "the least number of nodes, " +
                                      std::to_string(event.spec.min_nodes) +
                                      ", is above the most, " + std::to_string(event.spec.nodes));
  }
  const Placement placement = Place(ViewFor(state_, Job{}), WishOf(event.spec));
  if (placement.hosts.empty() && placement.refusal.never && !state_.nodes.empty()) {
    std::string message = "the job can never fit: it " + placement.refusal.summary;
    for (const std::string& node : placement.refusal.per_node) message += "\n  " + node;
    return Answer(Code::kInvalid, message);
  }
  decision_.accepted = state_.next_job;
  Note(JobAccepted{state_.next_job, event.submit_key, event.run_id, event.job_key, event.spec,
                   event.owner});
}

void Turn::On(const JobCancelled& event) {
  const auto found = state_.jobs.find(event.job);
  if (found == state_.jobs.end()) {
    return Answer(Code::kNotFound, "there is no " + Named(event.job));
  }
  Job& job = found->second;
  if (job.phase == JobPhase::kEnded) return;
  Cause cause = event.cause;
  cause.code = 0;
  if (job.cancel) {
    if (cause.kind != CauseKind::kCancelled || job.cancel->code == kKill) return;
    cause = *job.cancel;
    if (!event.grace_ms) cause.code = kKill;
  }
  Note(JobCancelAsked{job.id, cause, event.grace_ms.has_value(), event.grace_ms.value_or(0)});
  if (job.phase != JobPhase::kRunning) return;
  if (job.attempt->stopping) return SendStop(job);
  Stop(job, cause);
}

void Turn::On(const JobSignalled& event) {
  const auto found = state_.jobs.find(event.job);
  if (found == state_.jobs.end()) {
    return Answer(Code::kNotFound, "there is no " + Named(event.job));
  }
  const Job& job = found->second;
  if (job.phase != JobPhase::kRunning || !job.attempt->running || job.attempt->stopping) {
    return Answer(Code::kInvalid, Named(event.job) + " has no running ranks to signal");
  }
  const std::int32_t only = event.rank ? static_cast<std::int32_t>(*event.rank) : -1;
  if (event.rank && MemberOf(*job.attempt, *event.rank) == nullptr) {
    return Answer(Code::kInvalid, Named(event.job) + " has no rank " + std::to_string(only) +
                                      "; its ranks are 0 to " +
                                      std::to_string(WorldSize(*job.attempt) - 1));
  }
  for (const Member& member : job.attempt->members) {
    if (member.phase != MemberPhase::kRunning) continue;
    if (event.rank && &member != MemberOf(*job.attempt, *event.rank)) continue;
    Order(member.host.node, SignalRanks{job.id, job.attempt->number, event.signal, only});
  }
}

void Turn::On(const AgentRegistered& event) {
  const NodeName& name = event.node.name;
  const auto found = state_.nodes.find(name);
  const Node before = found == state_.nodes.end() ? Node{} : found->second;
  Note(Merge(event.node, before));
  if (!before.boot_id.empty() && before.boot_id != event.node.boot_id) {
    Reboot(name, event.node.boot_id);
  }
  for (const JobdStatus& status : event.jobds) Hear(name, status, true);
  MissAll(name, event.jobds);
}

void Turn::On(const NodeSilent& event) {
  const auto node = state_.nodes.find(event.node);
  if (node == state_.nodes.end() || node->second.lost) return;
  Note(NodeWasLost{event.node});
}

void Turn::On(const NodeHeard& event) {
  const auto node = state_.nodes.find(event.node);
  if (node == state_.nodes.end() || !node->second.lost || node->second.incarnation == 0) return;
  Note(NodeWasFound{event.node});
}

void Turn::On(const JobdReported& event) {
  const auto node = state_.nodes.find(event.node);
  if (node == state_.nodes.end() || node->second.incarnation != event.incarnation) return;
  Hear(event.node, event.status, false);
}

void Turn::On(const NodeDrained& event) {
  const auto node = state_.nodes.find(event.node);
  if (node == state_.nodes.end()) {
    return Answer(Code::kNotFound, "there is no node \"" + event.node + "\"");
  }
  if (event.dead && !node->second.lost) {
    return Answer(Code::kInvalid, event.node + " answers, so it is not dead: drain it without " +
                                      "--dead, or stop it first");
  }
  const std::string reason = event.dead && event.reason.empty() ? "declared dead" : event.reason;
  if (reason != node->second.drained) Note(NodeDrainSet{event.node, reason});
  if (!event.dead) return;
  for (auto& [id, job] : state_.jobs) {
    const Member* member = FindMember(job, event.node);
    if (job.phase != JobPhase::kRunning || member == nullptr || Over(*member)) continue;
    Release(job, *member, event.node + " was declared dead");
    Stop(job, {.kind = CauseKind::kNodeLost, .node = event.node, .text = "declared dead"});
  }
  const std::set<JobId> leftovers = node->second.leftovers;
  for (const JobId job : leftovers) Note(LeftoverSwept{job, event.node});
}

Decision Decide(State& state, const Event& event, TimePoint now, const Limits& limits) {
  Turn turn(state, now, limits);
  std::visit([&](const auto& e) { turn.On(e); }, event);
  turn.Settle();
  return std::move(turn).Take();
}

TimePoint NextDeadline(const State& state, const Limits& limits) {
  TimePoint next = TimePoint::max();
  for (const auto& [id, job] : state.jobs) {
    if (job.phase != JobPhase::kRunning) continue;
    next = std::min(next, TimeLimit(job));
    for (const Member& member : job.attempt->members) {
      if (Over(member) || !state.nodes.at(member.host.node).lost) continue;
      next = std::min(next, FenceDeadline(*job.attempt, limits));
    }
  }
  return next;
}

StartAttempt MakeStartOrder(const State& state, const Job& job, std::size_t host_index,
                            const Limits& limits) {
  StartAttempt order{.job = job.id,
                     .attempt = job.attempt->number,
                     .run_id = job.run_id,
                     .job_key = job.job_key,
                     .owner = job.owner,
                     .program = job.spec.program,
                     .checkpoint = job.spec.checkpoint,
                     .grace_ms = job.spec.grace_ms,
                     .fence_ms = limits.fence_ms,
                     .host_index = static_cast<std::uint32_t>(host_index),
                     .name = job.spec.name,
                     .max_restarts = job.spec.restart.max,
                     .launch = job.spec.launch};
  // What the caller gave is gone.
  if (order.attempt > 0) order.launch.stdin_rank0 = order.launch.pty = false;
  Portion portion;
  for (const Member& member : job.attempt->members) {
    order.hosts.push_back(member.host);
    portion.slots += member.host.slots.size();
  }
  for (const auto& [name, node] : state.nodes) {
    if (limits.nodes.empty() || limits.nodes.contains(name)) portion.of += node.slots;
  }
  order.checkpoint.bytes_per_s =
      AttemptLimit(limits.shares, order.checkpoint.store, order.checkpoint.bytes_per_s, portion);
  return order;
}

}  // namespace muster
