// The coordinator's process: what the loop, the journal and the streams do around the core.
#include <algorithm>

#include "tests/sim/world.h"

namespace muster::sim {
namespace {

bool SameOrders(const Decision& a, const Decision& b) {
  if (a.facts.size() != b.facts.size() || a.effects.size() != b.effects.size()) return false;
  for (std::size_t i = 0; i < a.facts.size(); ++i) {
    if (a.facts[i].index() != b.facts[i].index()) return false;
  }
  for (std::size_t i = 0; i < a.effects.size(); ++i) {
    const auto& x = std::get<SendOrder>(a.effects[i]);
    const auto& y = std::get<SendOrder>(b.effects[i]);
    if (x.node != y.node || x.incarnation != y.incarnation || x.order != y.order) return false;
  }
  return a.accepted == b.accepted && a.status == b.status;
}

State Replay(State state, const std::vector<Fact>& facts, std::size_t from) {
  for (std::size_t i = from; i < facts.size(); ++i) Apply(state, facts[i]);
  return state;
}

bool UnreportedOn(const Job& job, const NodeName& node) {
  if (job.phase != JobPhase::kRunning || !job.attempt->stopping) return false;
  for (const Member& member : job.attempt->members) {
    if (member.host.node == node && !member.released && member.phase < MemberPhase::kLeft &&
        member.phase != MemberPhase::kFinished) {
      return true;
    }
  }
  return false;
}

}  // namespace

TimePoint Coordinator::Now() const {
  return clock_.At(w_.timeline.now());
}

void Coordinator::Start() {
  if (alive_) return;
  alive_ = true;
  ++life_;
  // Perhaps on another host: its monotonic clock has another zero.
  clock_ = {.zero_ns = w_.random.Between(1, 1'000'000'000) * 1000,
            .ns_per_us = w_.random.Between(990, 1010)};
  state_ = Replay({}, journal_, 0);
  if (state_ != durable_) w_.Break("replay of the journal does not give the state before");
  if (Replay(snapshot_, journal_, snapshot_at_) != durable_) {
    w_.Break("snapshot and tail do not give the state before");
  }
  leases_ = Leases(std::chrono::microseconds(kLostAfter));
  watch_ = StallWatch(std::chrono::microseconds(kLostAfter) / kForgivenPerLease);
  for (const auto& [name, node] : state_.nodes) {
    if (!node.lost) leases_.Heard(name, Now());
  }
  w_.Trace("coordinator: life %llu", static_cast<unsigned long long>(life_));
  CoordinatorBegan began{.cluster = "sim"};
  if (w_.seed % 3 == 0) {
    for (const SimNode& node : w_.nodes) {
      began.nodes.push_back({.name = node.name, .block = node.block, .slots = node.slots});
    }
  }
  Feed(began);
}

void Coordinator::Crash() {
  if (!alive_) return;
  w_.Trace("coordinator: dies");
  w_.Count("coordinator killed");
  bool unsent = false;
  for (const Batch& batch : queued_) unsent = unsent || !batch.facts.empty();
  if (unsent) w_.Count("coordinator lost facts that were not durable");
  alive_ = false;
  ++wake_;
  queued_.clear();
  committing_ = false;
  ++epoch_;
  for (auto& [number, stream] : streams_) stream->Die(1, false);
  streams_.clear();
  current_.clear();
  newest_.clear();
}

void Coordinator::Look() {
  if (!watch_.Look(Now())) return;
  leases_.Forgive(Now());
  Feed(Stalled{});
}

void Coordinator::Feed(const Event& event, Answer answer) {
  if (!alive_) return;
  Look();
  const State before = state_;
  const TimePoint now = Now();
  Decision decision = Decide(state_, event, now);
  CheckDecision(event, before, decision, now);
  Observe(event, before, decision);
  Batch batch{.facts = decision.facts, .effects = decision.effects};
  if (answer) batch.answer = [answer = std::move(answer), decision] { answer(decision); };
  const bool nothing = batch.facts.empty() && batch.effects.empty() && !batch.answer;
  for (const Effect& effect : batch.effects) {
    const auto& order = std::get<SendOrder>(effect);
    if (std::holds_alternative<StartAttempt>(order.order) && w_.Ambush(order.node)) stalls_ = true;
  }
  if (!nothing) queued_.push_back(std::move(batch));
  Commit();
  Wake();
}

void Coordinator::CheckDecision(const Event& event, const State& before, const Decision& decision,
                                TimePoint now) {
  State applied = before;
  for (const Fact& fact : decision.facts) Apply(applied, fact);
  if (applied != state_) w_.Break("the facts do not give the state that Decide left");
  if (w_.seed % 8 == 0) {
    State again = before;
    const Decision same = Decide(again, event, now);
    if (again != state_ || !SameOrders(same, decision)) w_.Break("Decide is not deterministic");
  }
  w_.CheckSlots(state_);
}

// Counts and traces what was decided.
void Coordinator::Observe(const Event& event, const State& before, const Decision& decision) {
  for (const Fact& fact : decision.facts) {
    if (const auto* accepted = std::get_if<JobAccepted>(&fact)) {
      w_.NoteAccepted(accepted->job, accepted->submit_key);
    } else if (const auto* released = std::get_if<MemberReleased>(&fact)) {
      w_.Trace("coordinator: job %llu: %s released: %s",
               static_cast<unsigned long long>(released->job), released->node.c_str(),
               released->why.c_str());
      w_.Count(std::holds_alternative<NodeDrained>(event) ? "released: drained dead"
               : std::holds_alternative<AgentRegistered>(event) &&
                       std::get<AgentRegistered>(event).node.name == released->node
                   ? "released: a new boot"
                   : "released: fenced");
    } else if (const auto* ended = std::get_if<JobEnded>(&fact)) {
      static constexpr const char* kNames[] = {"", "succeeded", "failed", "cancelled", "preempted"};
      const char* name = kNames[static_cast<std::size_t>(ended->outcome)];
      w_.Count((std::string("job ") + name).c_str());
      if (ended->outcome == Outcome::kSucceeded) w_.CheckNotAsked(before.jobs.at(ended->job));
      w_.Trace("coordinator: job %llu ended: %s, exit %d (%s)",
               static_cast<unsigned long long>(ended->job), name, ended->exit_code,
               ended->cause.text.c_str());
    } else if (const auto* placed = std::get_if<AttemptPlaced>(&fact)) {
      if (placed->attempt > 0) w_.Count("restart");
      const JobSpec& spec = state_.jobs.at(placed->job).spec;
      const std::size_t nodes = placed->hosts.size();
      if (nodes < spec.nodes) w_.Count("attempt on fewer nodes");
      if (nodes > spec.nodes || nodes < (spec.min_nodes == 0 ? spec.nodes : spec.min_nodes)) {
        w_.Break("an attempt has not as many nodes as its job wants");
      }
      w_.Trace("coordinator: job %llu attempt %u on %zu nodes from %s",
               static_cast<unsigned long long>(placed->job), placed->attempt, placed->hosts.size(),
               placed->hosts[0].node.c_str());
    } else if (const auto* stopped = std::get_if<AttemptStopped>(&fact)) {
      const Job& job = before.jobs.contains(stopped->job) ? before.jobs.at(stopped->job) : Job{};
      if (job.attempt && job.attempt->stopping) {
        w_.Count(stopped->cause.kind == CauseKind::kNone ? "stop turned out well"
                                                         : "a better cause was heard");
      }
      w_.Trace("coordinator: job %llu attempt %u stops: kind %d %s",
               static_cast<unsigned long long>(stopped->job), stopped->attempt,
               static_cast<int>(stopped->cause.kind), stopped->cause.text.c_str());
    }
  }
  if (const auto* silent = std::get_if<NodeSilent>(&event)) {
    w_.Count("node lost");
    for (const auto& [id, job] : before.jobs) {
      if (UnreportedOn(job, silent->node)) w_.Count("node lost while stopping");
    }
  }
  if (const auto* cancel = std::get_if<JobCancelled>(&event)) {
    const auto job = before.jobs.find(cancel->job);
    if (job != before.jobs.end() && job->second.phase == JobPhase::kRunning) {
      if (job->second.attempt->stopping) w_.Count("cancel while stopping");
    }
  }
  std::size_t pending = 0, running = 0;
  for (const auto& [id, job] : state_.jobs) {
    pending += job.phase == JobPhase::kPending ? 1U : 0U;
    running += job.phase == JobPhase::kRunning ? 1U : 0U;
  }
  if (pending > 0 && running > 0) w_.Count("jobs that want one slot");
}

// Group commit: one write at a time, of everything that waits.
void Coordinator::Commit() {
  if (committing_ || queued_.empty()) return;
  committing_ = true;
  const std::size_t batches = queued_.size();
  Micros delay = w_.random.Between(100, 4000);
  if (w_.random.OneIn(30)) delay = w_.random.Between(5, 200) * kMilli;
  if (stalls_) delay = w_.random.Between(1500, 4000) * kMilli;
  stalls_ = false;
  w_.timeline.After(delay, [this, batches, epoch = epoch_] {
    if (epoch == epoch_) Committed(batches);
  });
}

void Coordinator::Committed(std::size_t batches) {
  for (std::size_t i = 0; i < batches; ++i) {
    for (const Fact& fact : queued_[i].facts) {
      journal_.push_back(fact);
      Apply(durable_, fact);
    }
  }
  if (w_.random.OneIn(20)) {
    snapshot_ = durable_;
    snapshot_at_ = journal_.size();
  }
  bool effects = false;
  for (std::size_t i = 0; i < batches; ++i) effects = effects || !queued_[i].effects.empty();
  if (effects && w_.faults_allowed && w_.random.OneIn(400)) {
    w_.Count("coordinator lost between journal and send");
    Crash();
    w_.RestartCoordinator();
    return;
  }
  std::vector<Batch> done;
  for (std::size_t i = 0; i < batches; ++i) {
    done.push_back(std::move(queued_.front()));
    queued_.pop_front();
  }
  committing_ = false;
  for (const Batch& batch : done) {
    for (const Effect& effect : batch.effects) Send(std::get<SendOrder>(effect));
    if (batch.answer) batch.answer();
  }
  Commit();
}

void Coordinator::Send(const SendOrder& order) {
  const SimNode* node = w_.NodeNamed(order.node);
  const auto current = current_.find(node->index);
  if (current == current_.end()) return;
  const auto stream = streams_.find(current->second);
  if (stream == streams_.end()) return;
  w_.Spite(*node, order.order);
  stream->second->Send(1, [this, index = node->index, session = stream->second, order] {
    SimNode& to = w_.nodes[index];
    if (to.agent.alive && to.agent.session == session) {
      w_.processes.Order(to, order.incarnation, order.order);
    }
  });
}

void Coordinator::Wake() {
  const std::uint64_t wake = ++wake_;
  const TimePoint next = std::min({NextDeadline(state_), leases_.NextDeadline(), watch_.next()});
  if (next == TimePoint::max()) return;
  w_.timeline.At(std::max(clock_.TrueTime(next), w_.timeline.now() + 1), [this, wake] {
    if (wake != wake_ || !alive_) return;
    Look();
    const std::vector<NodeName> expired = leases_.TakeExpired(Now());
    for (const NodeName& node : expired) {
      w_.Trace("coordinator: %s is silent", node.c_str());
      Feed(NodeSilent{node});
    }
    Feed(Ticked{});
  });
}

std::uint64_t Coordinator::Accept(std::size_t node, const std::shared_ptr<Connection>& connection) {
  const std::uint64_t number = next_stream_++;
  streams_[number] = connection;
  connection->closed[1] = [this, node, number, epoch = epoch_] {
    if (epoch == epoch_) StreamClosed(node, number);
  };
  return number;
}

// A stream that is not the node's newest is not heard; one that should be is told so by its end.
bool Coordinator::Overtaken(std::size_t node, std::uint64_t stream) {
  const auto current = current_.find(node);
  if (current != current_.end() && current->second == stream) return false;
  w_.Count("stale stream");
  if (const auto found = streams_.find(stream); found != streams_.end()) {
    const auto connection = found->second;
    streams_.erase(found);
    connection->Close(1);
  }
  return true;
}

void Coordinator::Register(std::size_t node, std::uint64_t stream, const AgentRegistered& event) {
  if (!alive_ || !streams_.contains(stream)) return;
  if (stream < newest_[node]) {
    w_.Count("stale registration");
    Overtaken(node, stream);
    return;
  }
  current_[node] = newest_[node] = stream;
  w_.Trace("coordinator: %s registers with %zu jobs", event.node.name.c_str(), event.jobds.size());
  leases_.Heard(event.node.name, Now());
  Feed(event);
}

void Coordinator::Report(std::size_t node, std::uint64_t stream, Incarnation incarnation,
                         const JobdStatus& status) {
  if (!alive_ || Overtaken(node, stream)) return;
  if (leases_.Heard(w_.nodes[node].name, Now())) Feed(NodeHeard{w_.nodes[node].name});
  Feed(JobdReported{w_.nodes[node].name, incarnation, status});
}

void Coordinator::Heartbeat(std::size_t node, std::uint64_t stream) {
  if (!alive_ || Overtaken(node, stream)) return;
  if (leases_.Heard(w_.nodes[node].name, Now())) {
    w_.Count("node heard again on its stream");
    Feed(NodeHeard{w_.nodes[node].name});
  }
}

void Coordinator::StreamClosed(std::size_t node, std::uint64_t stream) {
  streams_.erase(stream);
  if (current_.contains(node) && current_[node] == stream) current_.erase(node);
}

void Coordinator::Ask(const Event& event, Answer answer) {
  Feed(event, std::move(answer));
}

}  // namespace muster::sim
