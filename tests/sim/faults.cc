// What goes wrong, and who puts it right once nothing more does.
#include <algorithm>

#include "tests/sim/world.h"

namespace muster::sim {

void World::PlanFaults(Micros until) {
  const std::int64_t count = random.OneIn(3) ? random.Between(0, 40) : random.Between(0, 14);
  for (std::int64_t i = 0; i < count; ++i) {
    timeline.At(random.Between(100 * kMilli, until), [this] {
      if (faults_allowed) DoFault();
    });
  }
  const std::int64_t pauses = seed > kLastSteadySeed ? random.Between(1, 3) : 0;
  for (std::int64_t i = 0; i < pauses; ++i) {
    timeline.At(random.Between(100 * kMilli, until), [this] { Pause(); });
  }
}

void World::Pause() {
  const Micros length =
      random.OneIn(4) ? random.Between(5, 70) * kSecond : random.Between(300, 5000) * kMilli;
  Count("everything paused");
  Trace("world: everything is paused for %lld ms", static_cast<long long>(length / kMilli));
  timeline.Pause(length);
  paused_ += length;
}

void World::DoFault() {
  SimNode& node = nodes[static_cast<std::size_t>(
      random.Between(1, static_cast<std::int64_t>(nodes.size()) - 1))];
  const std::size_t index = node.index;
  const std::vector<Instance> daemons = processes.Live();
  const Instance victim = daemons.empty() ? 0
                                          : daemons[static_cast<std::size_t>(random.Below(
                                                static_cast<std::int64_t>(daemons.size())))];
  switch (random.Below(16)) {
    case 0:
    case 1:
      if (!coordinator.alive()) return;
      coordinator.Crash();
      return RestartCoordinator();
    case 2:
    case 3:
      if (!node.agent.alive) return;
      Count("agent killed");
      processes.KillAgent(node);
      timeline.After(
          random.OneIn(4) ? random.Between(1000, 6000) * kMilli : random.Between(50, 900) * kMilli,
          [this, index] { processes.StartAgent(nodes[index]); });
      return;
    case 4:
      if (!node.up) return;
      Count("node rebooted");
      processes.PowerOff(node);
      timeline.After(random.Between(300, 8000) * kMilli,
                     [this, index] { processes.PowerOn(nodes[index]); });
      return;
    case 5:
      if (!node.up || !random.OneIn(3)) return;
      Count("node gone for good");
      node.gone_for_good = true;
      return processes.PowerOff(node);
    case 6:
      return processes.KillDaemon(victim);
    case 7:
      return processes.BreakSession(node);
    case 8:
      return processes.BreakPeers(victim);
    case 9:
      return processes.FailRank(victim);
    case 10:
    case 11:
      return Conspire(victim);
    case 12:
    case 13:
      return Drain(index);
    default:
      return Partition();
  }
}

// The worst for D13: a node's agent is silent for so long that the node counts as lost, then its
// daemon is cut off from its peers, and one of these reports a failure at once.
void World::Conspire(Instance victim) {
  const Daemon* daemon = processes.Find(victim);
  if (daemon == nullptr || !daemon->state.order || daemon->state.order->hosts.size() < 2) return;
  Count("a node is cut off when it is already lost");
  const std::size_t cut = daemon->node;
  const JobId job = daemon->job;
  const Micros alone = random.Between(2400, 4000) * kMilli;
  const Micros end = alone + random.Between(1000, 6000) * kMilli;
  Cut(cut, 0, 0, end);
  for (std::size_t other = 1; other < nodes.size(); ++other) {
    if (other != cut) Cut(cut, other, alone, end);
  }
  const bool rank = random.Chance(50);
  timeline.After(alone + random.Between(0, 600) * kMilli, [this, cut, job, rank] {
    for (const SimNode& node : nodes) {
      const auto found = node.daemons.find(job);
      if (node.index == cut || found == node.daemons.end() || !faults_allowed) continue;
      return rank ? processes.FailRank(found->second) : processes.KillDaemon(found->second);
    }
  });
}

// A node boots anew while an order for it waits for the disk.
bool World::Ambush(const NodeName& name) {
  if (!faults_allowed || !random.OneIn(100)) return false;
  Count("node rebooted while its order waited for the disk");
  SimNode& node = nodes[NodeNamed(name)->index];
  processes.PowerOff(node);
  if (random.OneIn(2)) Drain(node.index);
  timeline.After(random.Between(100, 900) * kMilli,
                 [this, index = node.index] { processes.PowerOn(nodes[index]); });
  return true;
}

// A registration is read so late that the node has booted anew in the meantime.
Micros World::Dawdle(SimNode& node) {
  if (!faults_allowed || !random.OneIn(60)) return 0;
  Count("node rebooted while its registration was read");
  timeline.After(random.Between(1, 50) * kMilli, [this, index = node.index] {
    processes.PowerOff(nodes[index]);
    timeline.After(random.Between(50, 300) * kMilli,
                   [this, index] { processes.PowerOn(nodes[index]); });
  });
  return random.Between(500, 3000) * kMilli;
}

void World::Drain(std::size_t index) {
  Count("node drained");
  coordinator.Ask(NodeDrained{nodes[index].name, "bad fan"}, {});
  timeline.After(random.Between(500, 6000) * kMilli, [this, index] { Resume(index); });
}

void World::Resume(std::size_t index) {
  if (coordinator.alive()) return coordinator.Ask(NodeDrained{nodes[index].name, ""}, {});
  timeline.After(kSecond, [this, index] { Resume(index); });
}

// Whoever is to obey an order dies as it comes.
void World::Spite(const SimNode& node, const Order& order) {
  if (!faults_allowed) return;
  const JobId job = std::visit([](const auto& o) { return o.job; }, order);
  const std::size_t index = node.index;
  if (random.OneIn(60)) {
    timeline.After(random.Between(0, 2500), [this, index, job] {
      const auto found = nodes[index].daemons.find(job);
      if (found == nodes[index].daemons.end()) return;
      Count("daemon killed as an order came");
      processes.KillDaemon(found->second);
    });
  } else if (random.OneIn(150)) {
    timeline.After(random.Between(0, 2500), [this, index] {
      if (!nodes[index].agent.alive) return;
      Count("agent killed as an order came");
      processes.KillAgent(nodes[index]);
      timeline.After(random.Between(50, 900) * kMilli,
                     [this, index] { processes.StartAgent(nodes[index]); });
    });
  }
}

void World::Cut(HostId a, HostId b, Micros from, Micros until) {
  timeline.After(from, [this, a, b] {
    network.Block(a, b);
    network.Block(b, a);
  });
  timeline.After(until, [this, a, b] {
    network.Heal(a, b);
    network.Heal(b, a);
  });
}

void World::RestartCoordinator() {
  timeline.After(
      random.OneIn(5) ? random.Between(1000, 6000) * kMilli : random.Between(20, 900) * kMilli,
      [this] { coordinator.Start(); });
}

// Any subset against the rest, with or without the coordinator, both ways or one; for a while.
void World::Partition() {
  Count("partition");
  const bool one_way = random.OneIn(5);
  std::vector<bool> inside;
  for (std::size_t i = 0; i < nodes.size(); ++i) inside.push_back(random.Chance(50));
  const Micros length =
      random.OneIn(3) ? random.Between(2000, 9000) * kMilli : random.Between(50, 2500) * kMilli;
  for (std::size_t a = 0; a < nodes.size(); ++a) {
    for (std::size_t b = 0; b < nodes.size(); ++b) {
      if (inside[a] == inside[b] || (one_way && inside[a])) continue;
      network.Block(a, b);
      timeline.After(length, [this, a, b] { network.Heal(a, b); });
    }
  }
  std::string who;
  for (std::size_t i = 0; i < inside.size(); ++i) who += inside[i] ? "1" : "0";
  Trace("network: partition %s%s for %lld ms", who.c_str(), one_way ? " one way" : "",
        static_cast<long long>(length / kMilli));
}

void World::Quieten() {
  faults_allowed = false;
  network.set_rough(false);
  quiet_since_ = timeline.now();
  Trace("world: no more faults");
  for (SimNode& node : nodes) {
    if (node.index == 0) continue;
    const std::size_t index = node.index;
    timeline.After(random.Between(0, 9000) * kMilli, [this, index] {
      processes.PowerOn(nodes[index]);
      processes.StartAgent(nodes[index]);
    });
  }
  Operate();
}

// The people who look after the cluster, every two seconds.
void World::Operate() {
  if (!coordinator.alive()) {
    coordinator.Start();
  } else {
    const State state = coordinator.state();
    for (const auto& [name, node] : state.nodes) {
      if (node.drained == "bad fan") coordinator.Ask(NodeDrained{name, ""}, {});
    }
    for (const auto& [id, job] : state.jobs) {
      if (job.phase != JobPhase::kEnded) LookAfter(job);
    }
  }
  timeline.After(2 * kSecond, [this] { Operate(); });
}

void World::LookAfter(const Job& job) {
  const std::vector<std::string> why = Why(coordinator.state(), job.id);
  if (why.empty()) return Break("a job waits without a reason");
  for (const SimNode& node : nodes) {
    if (!node.gone_for_good || coordinator.state().nodes.count(node.name) == 0) continue;
    for (const std::string& line : why) {
      if (line.find("muster drain --dead " + node.name + "`") == std::string::npos) continue;
      Count("a reason named drain --dead");
      coordinator.Ask(NodeDrained{node.name, "gone", true}, {});
    }
  }
  if (timeline.now() < quiet_since_ + kPatience) return;
  if (MustEndByItself(job)) return Break("a job that could go on does not end: " + Unended());
  if (job.cancel) return;
  Count("cancelled by an operator");
  CancelJob(job.submit_key, CauseKind::kCancelled, 0);
}

// Not those that a hung rank or missing nodes hold up: these are for people to end.
bool World::MustEndByItself(const Job& job) {
  const SimJob& truth = jobs.at(job.submit_key);
  if (job.cancel && timeline.now() > quiet_since_ + kPatience + 10 * kSecond) return true;
  if (job.phase == JobPhase::kPending) {
    std::size_t fitting = 0;
    for (const auto& [name, node] : coordinator.state().nodes) {
      fitting +=
          NodeNamed(name)->up && node.slots >= std::max(1U, job.spec.ranks_per_node) ? 1U : 0U;
    }
    const std::uint32_t least = job.spec.min_nodes == 0 ? job.spec.nodes : job.spec.min_nodes;
    return fitting >= least && job.spec.ranks_per_node > 0 && jobs.size() == 1;
  }
  if (job.attempt->stopping) return timeline.now() > quiet_since_ + kPatience + 10 * kSecond;
  const auto attempt = truth.attempts.find(job.attempt->number);
  const bool hangs = attempt != truth.attempts.end() && attempt->second.alive > 0;
  return !hangs;
}

}  // namespace muster::sim
