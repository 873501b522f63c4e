// The daemons' own doings: peers, ranks, timers, and the mover with its store.
#include <algorithm>

#include "tests/sim/world.h"

namespace muster::sim {
namespace {

bool VouchesStill(const JobdState& state) {
  return state.status.phase >= MemberPhase::kStarting &&
         state.status.phase <= MemberPhase::kStopping &&
         state.status.cause.kind == CauseKind::kNone;
}

const char* PhaseName(MemberPhase phase) {
  static constexpr const char* kNames[] = {"none",     "starting", "ready", "running", "finished",
                                           "stopping", "left",     "dead",  "gone"};
  return kNames[static_cast<std::size_t>(phase)];
}

}  // namespace

Daemon* Nodes::Find(Instance instance) {
  const auto found = daemons_.find(instance);
  return found == daemons_.end() || found->second.dying ? nullptr : &found->second;
}

std::vector<Instance> Nodes::Live() const {
  std::vector<Instance> live;
  for (const auto& [instance, daemon] : daemons_) {
    if (!daemon.dying) live.push_back(instance);
  }
  return live;
}

void Nodes::KillDaemon(Instance instance) {
  if (Find(instance) == nullptr) return;
  w_.Count("daemon killed");
  ExitDaemon(instance, false);
}

void Nodes::Tell(Daemon& daemon, const JobdEvent& event) {
  const Instance instance = daemon.instance;
  const JobdState before = daemon.state;
  const TimePoint now = w_.nodes[daemon.node].clock.At(w_.timeline.now());
  const std::vector<JobdEffect> effects = Step(daemon.state, event, now);
  const JobdStatus& status = daemon.state.status;
  if (before.forgiven < daemon.state.forgiven) w_.Count("paused daemon forgave");
  if (before.status.phase != status.phase || before.status.attempt != status.attempt) {
    w_.Trace("%s: job %llu attempt %u is %s (%s)", w_.nodes[daemon.node].name.c_str(),
             static_cast<unsigned long long>(daemon.job), status.attempt, PhaseName(status.phase),
             status.cause.text.c_str());
  }
  const bool moved_on = before.status.attempt != status.attempt;
  if (VouchesStill(before) && (moved_on || !VouchesStill(daemon.state))) {
    w_.NoteLeft(before);
    if (std::holds_alternative<TimePassed>(event) && before.status.ranks_alive > 0 &&
        status.cause.kind == CauseKind::kPeerLost) {
      w_.Count("ranks killed by the fence");
    }
  }
  if (daemon.state.next && !before.next) w_.Count("next attempt kept waiting in a daemon");
  if (daemon.state.refused > before.refused) w_.Count("attempt refused before it began");
  for (const JobdEffect& effect : effects) {
    Daemon* still = Find(instance);
    if (still == nullptr) return;
    std::visit([&](const auto& e) { Do(*still, e); }, effect);
  }
  if (Daemon* still = Find(instance)) SetTimer(*still);
}

void Nodes::TellLater(Daemon& daemon, Micros delay, JobdEvent event) {
  w_.timeline.After(delay, [this, instance = daemon.instance, event = std::move(event)] {
    if (Daemon* still = Find(instance)) Tell(*still, event);
  });
}

void Nodes::SetTimer(Daemon& daemon) {
  const TimePoint next = NextDeadline(daemon.state);
  if (next == TimePoint::max()) return;
  const Micros when = std::max(w_.nodes[daemon.node].clock.TrueTime(next), w_.timeline.now() + 1);
  if (daemon.timer_at == when) return;
  daemon.timer_at = when;
  // A loop that is late: a busy host.
  const Micros late = w_.random.OneIn(50) ? w_.random.Between(0, 5 * kMilli) : 0;
  w_.timeline.At(when + late, [this, instance = daemon.instance, when] {
    Daemon* still = Find(instance);
    if (still == nullptr || still->timer_at != when) return;
    still->timer_at = -1;
    Tell(*still, TimePassed{});
  });
}

// ---- peers --------------------------------------------------------------------------------------

void Nodes::Do(Daemon& daemon, const ConnectToHead& effect) {
  const std::uint64_t connecting = ++daemon.connecting;
  if (const auto old = daemon.peers.find(0); old != daemon.peers.end()) {
    old->second.connection->Close(old->second.end);
    daemon.peers.erase(old);
  }
  TryHead(daemon.instance, connecting, effect.port, w_.timeline.now() + 5 * kSecond);
}

void Nodes::TryHead(Instance instance, std::uint64_t connecting, std::uint16_t port, Micros until) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr || daemon->connecting != connecting || !daemon->state.order) return;
  const SimNode* head_node = w_.NodeNamed(daemon->state.order->hosts[0].node);
  const auto head = listening_.find({head_node->index, port});
  const bool up = head != listening_.end() && head_node->up &&
                  daemons_.at(head->second).up_at <= w_.timeline.now();
  if (!up || !w_.network.Reachable(daemon->node, head_node->index)) {
    if (w_.timeline.now() >= until) {
      w_.Count("head unreachable");
      return Tell(*daemon, HeadUnreachable{"no address of it answers"});
    }
    w_.timeline.After(
        w_.random.Between(20, 200) * kMilli,
        [this, instance, connecting, port, until] { TryHead(instance, connecting, port, until); });
    return;
  }
  auto connection = w_.network.Connect(daemon->node, head_node->index);
  const AttemptNumber attempt = daemon->state.status.attempt;
  const std::uint32_t index = daemon->state.order->host_index;
  const Instance head_instance = head->second;
  daemon->peers[0] = {connection, 0, attempt, head_instance};
  connection->closed[0] = [this, instance, attempt, weak = std::weak_ptr(connection)] {
    Daemon* me = Find(instance);
    if (me == nullptr || !me->peers.contains(0) || me->peers[0].connection != weak.lock()) return;
    me->peers.erase(0);
    Tell(*me, PeerGone{0, attempt});
  };
  connection->Send(0, [this, head_instance, connection, index, attempt, instance] {
    Welcome(head_instance, connection, index, attempt, instance);
  });
  Tell(*daemon, HeadConnected{});
}

// The head read a Hello.
void Nodes::Welcome(Instance instance, const std::shared_ptr<Connection>& connection,
                    std::uint32_t index, AttemptNumber attempt, Instance from) {
  Daemon* head = Find(instance);
  if (head == nullptr || attempt < head->state.status.attempt) return connection->Close(1);
  head->peers[index] = {connection, 1, attempt, from};
  connection->closed[1] = [this, instance, index, attempt, weak = std::weak_ptr(connection)] {
    Daemon* me = Find(instance);
    if (me == nullptr || !me->peers.contains(index)) return;
    if (me->peers[index].connection != weak.lock()) return;
    me->peers.erase(index);
    Tell(*me, PeerGone{index, attempt});
  };
  Tell(*head, FollowerConnected{index, attempt});
}

void Nodes::BreakPeers(Instance instance) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr || daemon->peers.empty()) return;
  w_.Count("connection between daemons broken");
  const auto peer = daemon->peers.begin()->second;
  const AttemptNumber attempt = peer.attempt;
  const std::uint32_t index = daemon->peers.begin()->first;
  daemon->peers.erase(daemon->peers.begin());
  peer.connection->Die(peer.end, false);
  Tell(*daemon, PeerGone{index, attempt});
}

void Nodes::Do(Daemon& daemon, const SendPeer& effect) {
  const auto found = daemon.peers.find(effect.host_index);
  if (found == daemon.peers.end()) return;
  const Peer& peer = found->second;
  const std::uint32_t from = daemon.state.order->host_index;
  const int to_end = 1 - peer.end;
  peer.connection->Send(peer.end, [this, connection = peer.connection.get(), to_end, from,
                                   to = peer.other, message = effect.message] {
    Daemon* other = Find(to);
    if (other == nullptr || !connection->open(to_end)) return;
    Tell(*other, PeerSaid{from, message});
  });
}

void Nodes::Do(Daemon& daemon, const CleanUp& effect) {
  ++daemon.connecting;
  for (auto peer = daemon.peers.begin(); peer != daemon.peers.end();) {
    if (peer->second.attempt != effect.attempt) {
      ++peer;
      continue;
    }
    peer->second.connection->Close(peer->second.end);
    peer = daemon.peers.erase(peer);
  }
}

// ---- ranks --------------------------------------------------------------------------------------

void Nodes::Do(Daemon& daemon, const PrepareRanks&) {
  const AttemptNumber attempt = daemon.state.status.attempt;
  const bool fails = w_.faults_allowed && w_.random.OneIn(150);
  w_.timeline.After(w_.random.Between(1, 60) * kMilli, [this, instance = daemon.instance, attempt,
                                                        fails] {
    Daemon* me = Find(instance);
    if (me == nullptr || me->state.status.attempt != attempt) return;
    if (me->state.status.phase != MemberPhase::kStarting) return;
    if (fails) {
      w_.Count("preparation failed");
      return Tell(*me, LocalFailed{{.kind = CauseKind::kPmixLost, .text = "the PMIx server died"}});
    }
    w_.TruthOf(me->job, attempt)->prepared.insert(me->state.order->host_index);
    Tell(*me, LocalPrepared{});
  });
}

void Nodes::Do(Daemon& daemon, const ForkRanks&) {
  const StartAttempt& order = *daemon.state.order;
  const Host& host = order.hosts[order.host_index];
  SimNode& node = w_.nodes[daemon.node];
  AttemptTruth& truth = *w_.TruthOf(daemon.job, order.attempt);
  truth.hosts = order.hosts.size();
  truth.all = static_cast<std::int64_t>(order.hosts.size() * host.slots.size());
  w_.CheckFork(daemon);
  daemon.ranks.clear();
  daemon.ranks_of = order.attempt;
  for (std::uint32_t i = 0; i < host.slots.size(); ++i) {
    if (node.slot_owner.contains(host.slots[i])) return w_.Break("one slot has two ranks");
    node.slot_owner[host.slots[i]] = daemon.job;
    daemon.ranks[i] = {.alive = true};
    ++truth.alive;
  }
  w_.CheckOneAttempt(daemon.job);
  for (std::uint32_t i = 0; i < host.slots.size(); ++i) LiveOut(daemon, i);
  const std::uint64_t mover = ++daemon.mover;
  if (order.host_index == 0 && !order.checkpoint.store.empty()) {
    w_.timeline.After(w_.random.Between(1, 20) * kMilli,
                      [this, instance = daemon.instance, mover] { Claim(instance, mover, 0); });
  }
}

void Nodes::LiveOut(Daemon& daemon, std::uint32_t rank) {
  const SimJob& job = *w_.JobOf(daemon.job);
  Micros life = job.work + w_.random.Between(0, 200) * kMilli;
  Cause cause;
  if (w_.random.Chance(job.badness)) {
    life = w_.random.Between(0, job.work);
    switch (w_.random.Below(4)) {
      case 0:
        cause = {.kind = CauseKind::kSignal, .code = 9};
        break;
      case 1:
        return;  // It hangs.
      default:
        cause = {.kind = CauseKind::kExit, .code = 3};
    }
  }
  w_.timeline.After(
      life, [this, instance = daemon.instance, attempt = daemon.ranks_of, rank, cause] {
        Daemon* me = Find(instance);
        if (me == nullptr || me->ranks_of != attempt) return;
        const AttemptTruth& truth = *w_.TruthOf(me->job, attempt);
        // A rank whose partners are gone does not end well: it hangs, or its library gives up.
        const bool whole =
            truth.alive + truth.well == truth.all && truth.prepared.size() == truth.hosts;
        if (cause.kind != CauseKind::kNone || whole) return EndRank(instance, attempt, rank, cause);
        if (w_.random.Chance(50))
          EndRank(instance, attempt, rank,
                  {.kind = CauseKind::kExit, .code = 1, .consequence = rank % 2 == 0});
      });
}

void Nodes::EndRank(Instance instance, AttemptNumber attempt, std::uint32_t rank,
                    const Cause& cause, bool by_us) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr || daemon->ranks_of != attempt || !daemon->ranks[rank].alive) return;
  RemoveRank(*daemon, rank, cause.kind == CauseKind::kNone);
  TellLater(*daemon, w_.random.Between(0, 1500), RankExited{rank, cause, by_us});
}

void Nodes::RemoveRank(Daemon& daemon, std::uint32_t rank, bool well) {
  daemon.ranks[rank] = {.alive = false, .left_well = well};
  AttemptTruth& truth = *w_.TruthOf(daemon.job, daemon.ranks_of);
  --truth.alive;
  if (well) ++truth.well;
  auto& owners = w_.nodes[daemon.node].slot_owner;
  const StartAttempt& order = *daemon.state.order;
  owners.erase(order.hosts[order.host_index].slots[rank]);
}

void Nodes::FailRank(Instance instance) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr) return;
  for (const auto& [rank, truth] : daemon->ranks) {
    if (!truth.alive) continue;
    w_.Count("rank killed");
    return EndRank(instance, daemon->ranks_of, rank, {.kind = CauseKind::kSignal, .code = 9});
  }
}

void Nodes::Do(Daemon& daemon, const AskRanks& effect) {
  for (const auto& [rank, truth] : daemon.ranks) {
    if (truth.alive) w_.TruthOf(daemon.job, daemon.ranks_of)->asked = true;
    if (!truth.alive || w_.random.Chance(30)) continue;  // Some do not listen.
    const Micros delay = w_.random.Between(0, effect.grace_ms + 500) * kMilli;
    w_.timeline.After(delay, [this, instance = daemon.instance, attempt = daemon.ranks_of,
                              rank = rank] { EndRank(instance, attempt, rank, {}); });
  }
}

void Nodes::Do(Daemon&, const SignalAll&) {
  w_.Count("ranks signalled");
}

void Nodes::Do(Daemon& daemon, const KillRanks&) {
  for (const auto& [rank, truth] : daemon.ranks) {
    if (!truth.alive) continue;
    // In some worlds most ranks take as long to die as the margin of the fence allows.
    const Micros delay = w_.random.Chance(w_.seed % 4 == 0 ? 85 : 15)
                             ? w_.random.Between(kSlowestKill / 2, kSlowestKill)
                             : w_.random.Between(0, 15 * kMilli);
    w_.timeline.After(
        delay, [this, instance = daemon.instance, attempt = daemon.ranks_of, rank = rank] {
          EndRank(instance, attempt, rank, {.kind = CauseKind::kSignal, .code = 9}, true);
        });
  }
}

void Nodes::Do(Daemon& daemon, const TellAgent&) {
  SimNode& node = w_.nodes[daemon.node];
  node.status_files[daemon.job] = daemon.state.status;
  if (!node.agent.alive) return;
  // Said to this life of the agent only; the next one is told when it attaches.
  node.agent.said_free =
      std::max(node.agent.said_free, w_.timeline.now()) + w_.random.Between(5, 200);
  TellLater(node, node.agent.said_free - w_.timeline.now(), JobdSaid{daemon.state.status});
}

void Nodes::Do(Daemon& daemon, const SettleMover&) {
  TellLater(daemon, w_.random.Between(0, 100) * kMilli, MoverSettled{});
}

void Nodes::Do(Daemon& daemon, const EndProcess&) {
  if (std::any_of(daemon.ranks.begin(), daemon.ranks.end(),
                  [](const auto& r) { return r.second.alive; })) {
    w_.Break("a daemon ends before its ranks");
  }
  ExitDaemon(daemon.instance, false);
}

void Nodes::NoteLeaving(const Daemon& daemon) {
  if (VouchesStill(daemon.state)) w_.NoteLeft(daemon.state);
}

// ---- the mover and the store (D6) ---------------------------------------------------------------

void Nodes::Claim(Instance instance, std::uint64_t mover, std::uint64_t seen) {
  Daemon* daemon = Find(instance);
  if (daemon == nullptr || daemon->mover != mover) return;
  Store& store = w_.StoreOf(daemon->job);
  if (seen != 0 && store.claims.insert(seen).second) {
    daemon->newest = store.Newest();
    if (!store.DescendsFrom(daemon->newest, store.acknowledged)) {
      return w_.Break("a committed checkpoint is lost");
    }
    if (daemon->state.status.attempt == 0 && daemon->newest != Commit{}) {
      w_.Count("job went on with a run");
    }
    return Save(instance, mover, seen);
  }
  if (seen != 0) w_.Count("claim was taken");
  const std::uint64_t next = store.Highest() + 1;
  w_.timeline.After(w_.random.Between(0, 5) * kMilli,
                    [this, instance, mover, next] { Claim(instance, mover, next); });
}

// Data, manifest, a look for a higher claim, then the link; any of it may be the last thing done.
void Nodes::Save(Instance instance, std::uint64_t mover, std::uint64_t generation) {
  const Micros interval = w_.random.Between(200, 1500) * kMilli;
  w_.timeline.After(interval, [this, instance, mover, generation] {
    Daemon* daemon = Find(instance);
    if (daemon == nullptr || daemon->mover != mover || daemon->state.status.ranks_alive == 0)
      return;
    Store& store = w_.StoreOf(daemon->job);
    if (store.Highest() > generation) {
      return w_.Break("a later attempt claims the store while ranks of an earlier one live");
    }
    w_.timeline.After(w_.random.Between(0, 3000), [this, instance, mover, generation] {
      Daemon* me = Find(instance);
      if (me == nullptr || me->mover != mover) return;
      Store& its_store = w_.StoreOf(me->job);
      const Commit commit{generation, me->newest.step + 1};
      its_store.commits[commit] = me->newest;
      me->newest = commit;
      w_.Count("checkpoint committed");
      const AttemptTruth& truth = *w_.TruthOf(me->job, me->ranks_of);
      if (truth.alive > 0 && me->state.status.ranks_alive > 0) its_store.acknowledged = commit;
      Save(instance, mover, generation);
    });
  });
}

std::uint64_t Store::Highest() const {
  const std::uint64_t claimed = claims.empty() ? 0 : *claims.rbegin();
  return std::max(claimed, commits.empty() ? 0 : commits.rbegin()->first.generation);
}

Commit Store::Newest() const {
  return commits.empty() ? Commit{} : commits.rbegin()->first;
}

bool Store::DescendsFrom(Commit commit, Commit ancestor) const {
  while (commit > ancestor) {
    const auto found = commits.find(commit);
    if (found == commits.end()) return false;
    commit = found->second;
  }
  return commit == ancestor;
}

}  // namespace muster::sim
