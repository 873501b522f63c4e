// Agents, their sessions, and the daemons' processes as an agent sees them.
#include <algorithm>

#include "tests/sim/world.h"

namespace muster::sim {

void Nodes::StartAgent(SimNode& node) {
  if (!node.up || node.agent.alive) return;
  const std::uint64_t life = node.agent.life + 1;
  node.agent = {.alive = true, .life = life};
  AgentBegan began;
  began.found.assign(node.records.begin(), node.records.end());
  w_.Trace("%s: agent life %llu", node.name.c_str(), static_cast<unsigned long long>(life));
  Tell(node, began);
  const std::size_t index = node.index;
  w_.timeline.After(w_.random.Between(1, 100) * kMilli,
                    [this, index, life] { Connect(index, life); });
}

void Nodes::KillAgent(SimNode& node) {
  if (!node.agent.alive) return;
  w_.Trace("%s: agent dies", node.name.c_str());
  node.agent.alive = false;
  if (node.agent.session) node.agent.session->Die(0, !node.up);
  node.agent.session.reset();
}

void Nodes::Connect(std::size_t index, std::uint64_t life) {
  SimNode& node = w_.nodes[index];
  if (!node.agent.alive || node.agent.life != life || node.agent.session) return;
  if (!w_.coordinator.alive() || !w_.network.Reachable(index, 0)) {
    w_.timeline.After(w_.random.Between(50, 1000) * kMilli,
                      [this, index, life] { Connect(index, life); });
    return;
  }
  auto session = w_.network.Connect(index, 0);
  node.agent.session = session;
  node.agent.opened = false;
  session->closed[0] = [this, index, life, weak = std::weak_ptr(session)] {
    SimNode& me = w_.nodes[index];
    if (!me.agent.alive || me.agent.life != life || me.agent.session != weak.lock()) return;
    me.agent.session.reset();
    Tell(me, SessionClosed{});
    w_.timeline.After(w_.random.Between(50, 1000) * kMilli,
                      [this, index, life] { Connect(index, life); });
  };
  // The coordinator speaks first: so the stream has its number before anything is registered on it.
  session->Send(0, [this, index, session] {
    if (!w_.coordinator.alive()) return session->Close(1);
    const std::uint64_t stream = w_.coordinator.Accept(index, session);
    session->Send(1, [this, index, session, stream] {
      SimNode& me = w_.nodes[index];
      if (!me.agent.alive || me.agent.session != session) return;
      me.agent.opened = true;
      me.agent.stream = stream;
      Tell(me, SessionOpened{w_.random.Next()});
      Beat(index, me.agent.life, session);
    });
  });
}

void Nodes::Beat(std::size_t index, std::uint64_t life,
                 const std::shared_ptr<Connection>& session) {
  SimNode& node = w_.nodes[index];
  if (!node.agent.alive || node.agent.life != life || node.agent.session != session) return;
  if (node.agent.state.registered) {
    session->Send(
        0, [this, index, stream = node.agent.stream] { w_.coordinator.Heartbeat(index, stream); });
  }
  w_.timeline.After(kHeartbeat, [this, index, life, session] { Beat(index, life, session); });
}

void Nodes::BreakSession(SimNode& node) {
  const auto session = node.agent.session;
  if (!session) return;
  w_.Trace("%s: its session breaks", node.name.c_str());
  // The agent may know long before the coordinator reads what had already been sent.
  session->Die(0, false);
  node.agent.session.reset();
  Tell(node, SessionClosed{});
  const std::size_t index = node.index;
  const std::uint64_t life = node.agent.life;
  w_.timeline.After(w_.random.Between(1, 400) * kMilli,
                    [this, index, life] { Connect(index, life); });
}

void Nodes::Tell(SimNode& node, const AgentEvent& event) {
  if (!node.agent.alive) return;
  if (const auto* order = std::get_if<OrderArrived>(&event)) {
    if (order->incarnation != node.agent.state.incarnation) w_.Count("stale order");
  }
  for (const AgentEffect& effect : Step(node.agent.state, event)) {
    std::visit([&](const auto& e) { Do(node, e); }, effect);
  }
}

void Nodes::TellLater(SimNode& node, Micros delay, const AgentEvent& event) {
  w_.timeline.After(delay, [this, index = node.index, life = node.agent.life, event] {
    SimNode& me = w_.nodes[index];
    if (me.agent.life == life) Tell(me, event);
  });
}

void Nodes::Order(SimNode& node, Incarnation incarnation, const muster::Order& order) {
  Tell(node, OrderArrived{incarnation, order});
}

// The unix socket between an agent and a daemon: in order, and it dies with either.
Micros Nodes::SocketDelay(SimNode& node) {
  node.agent.socket_free =
      std::max(node.agent.socket_free, w_.timeline.now()) + w_.random.Between(5, 200);
  return node.agent.socket_free - w_.timeline.now();
}

void Nodes::Do(SimNode& node, const SpawnJobd& effect) {
  const JobId job = effect.order.job;
  if (node.daemons.contains(job)) return w_.Break("an agent starts a second daemon of one job");
  node.records.insert(job);
  const Instance instance = next_++;
  Daemon& daemon = daemons_[instance];
  daemon.instance = instance;
  daemon.job = job;
  daemon.node = node.index;
  daemon.up_at = w_.timeline.now() + w_.random.Between(1, 30) * kMilli;
  daemon.state.status = {
      .job = job, .instance = instance, .port = static_cast<std::uint16_t>(1 + instance % 60000)};
  node.daemons[job] = instance;
  listening_[{node.index, daemon.state.status.port}] = instance;
  if (w_.faults_allowed && w_.random.OneIn(100)) {
    w_.Count("daemon did not come up");
    w_.timeline.At(daemon.up_at, [this, instance] { ExitDaemon(instance, false); });
    return;
  }
  const std::size_t index = node.index;
  const std::uint64_t life = node.agent.life;
  w_.timeline.At(daemon.up_at, [this, index, life, instance, order = effect.order] {
    SimNode& me = w_.nodes[index];
    if (Find(instance) == nullptr || !me.agent.alive || me.agent.life != life) return;
    ToDaemon(me, instance, order);
    Tell(me, JobdConnected{order.job});
  });
}

void Nodes::ToDaemon(SimNode& node, Instance instance, const muster::Order& order) {
  w_.timeline.After(SocketDelay(node),
                    [this, instance, index = node.index, life = node.agent.life, order] {
                      Daemon* daemon = Find(instance);
                      const Agent& agent = w_.nodes[index].agent;
                      // What a dead agent had written is still read, or not.
                      if (daemon == nullptr || (agent.life != life && w_.random.Chance(50))) return;
                      Tell(*daemon, OrderCame{order});
                    });
}

void Nodes::Do(SimNode& node, const AttachJobd& effect) {
  const auto found = node.daemons.find(effect.job);
  if (found == node.daemons.end()) {
    TellLater(node, w_.random.Between(1, 20) * kMilli,
              JobdExited{effect.job, StatusFile(node, effect.job)});
    return;
  }
  const Instance instance = found->second;
  const Micros ready = std::max(daemons_.at(instance).up_at, w_.timeline.now());
  w_.timeline.At(ready + w_.random.Between(1, 20) * kMilli,
                 [this, instance, index = node.index, life = node.agent.life] {
                   SimNode& me = w_.nodes[index];
                   Daemon* daemon = Find(instance);
                   if (daemon == nullptr || !me.agent.alive || me.agent.life != life)
                     return;  // Its exit is seen.
                   Tell(me, JobdConnected{daemon->job});
                   Tell(me, JobdSaid{daemon->state.status});
                 });
}

void Nodes::Do(SimNode& node, const TellJobd& effect) {
  const auto found = node.daemons.find(effect.job);
  if (found != node.daemons.end()) ToDaemon(node, found->second, effect.order);
}

void Nodes::Do(SimNode& node, const ContainJob& effect) {
  Contain(node.index, node.agent.life, effect.job);
}

void Nodes::Contain(std::size_t index, std::uint64_t life, JobId job) {
  SimNode& node = w_.nodes[index];
  if (!node.agent.alive || node.agent.life != life) return;
  bool alive = node.daemons.contains(job);
  for (const auto& [slot, owner] : node.slot_owner) alive = alive || owner == job;
  if (!alive) return Tell(node, JobContained{job});
  w_.timeline.After(w_.random.Between(1, 50) * kMilli,
                    [this, index, life, job] { Contain(index, life, job); });
}

void Nodes::Do(SimNode& node, const SweepJob& effect) {
  const JobId job = effect.job;
  w_.timeline.After(w_.random.Between(0, 20) * kMilli,
                    [this, index = node.index, life = node.agent.life, job] {
                      SimNode& me = w_.nodes[index];
                      if (!me.agent.alive || me.agent.life != life) return;
                      me.records.erase(job);
                      me.status_files.erase(job);
                      Tell(me, JobSwept{job});
                    });
}

void Nodes::Do(SimNode& node, const RegisterWith& effect) {
  AgentRegistered event{{.name = node.name,
                         .addresses = {node.name},
                         .slots = node.slots,
                         .incarnation = node.agent.state.incarnation,
                         .boot_id = node.name + "/" + std::to_string(node.boots)},
                        effect.jobds};
  event.node.block = node.block;
  auto read = [this, index = node.index, stream = node.agent.stream, event] {
    w_.coordinator.Register(index, stream, event);
  };
  node.agent.session->Send(0, read, w_.Dawdle(node));
}

void Nodes::Do(SimNode& node, const SendStatus& effect) {
  node.agent.session->Send(0, [this, index = node.index, stream = node.agent.stream,
                               incarnation = node.agent.state.incarnation, status = effect.status] {
    w_.coordinator.Report(index, stream, incarnation, status);
  });
}

void Nodes::PowerOff(SimNode& node) {
  if (!node.up) return;
  w_.Trace("%s: power off", node.name.c_str());
  node.up = false;
  KillAgent(node);
  const auto daemons = node.daemons;
  for (const auto& [job, instance] : daemons) ExitDaemon(instance, true);
}

void Nodes::PowerOn(SimNode& node) {
  if (node.up || node.gone_for_good) return;
  node.up = true;
  ++node.boots;
  w_.Trace("%s: boots", node.name.c_str());
  StartAgent(node);
}

JobdStatus Nodes::StatusFile(const SimNode& node, JobId job) const {
  const auto found = node.status_files.find(job);
  return found == node.status_files.end() ? JobdStatus{} : found->second;
}

// A process ends, killed or not: its ranks die with it, its sockets close.
void Nodes::ExitDaemon(Instance instance, bool silent) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr || daemon->dying) return;
  daemon->dying = true;
  SimNode& node = w_.nodes[daemon->node];
  w_.Trace("%s: daemon %llu of job %llu exits", node.name.c_str(),
           static_cast<unsigned long long>(instance), static_cast<unsigned long long>(daemon->job));
  NoteLeaving(*daemon);
  listening_.erase({daemon->node, daemon->state.status.port});
  for (auto& [index, peer] : daemon->peers) {
    if (peer.connection) peer.connection->Die(peer.end, silent);
  }
  const JobId job = daemon->job;
  node.daemons.erase(job);
  if (node.agent.alive) {
    TellLater(node, w_.random.Between(0, 5) * kMilli, JobdExited{job, StatusFile(node, job)});
  }
  if (silent) return BuryDaemon(instance);
  // Its ranks are killed with it, and some take their time to die.
  const Micros linger = w_.random.OneIn(4) ? w_.random.Between(kSlowestKill / 2, kSlowestKill)
                                           : w_.random.Between(0, 20 * kMilli);
  w_.timeline.After(linger, [this, instance] { BuryDaemon(instance); });
}

void Nodes::BuryDaemon(Instance instance) {
  const auto found = daemons_.find(instance);
  if (found == daemons_.end()) return;
  for (auto& [rank, truth] : found->second.ranks) {
    if (truth.alive) RemoveRank(found->second, rank, false);
  }
  daemons_.erase(found);
}

}  // namespace muster::sim
