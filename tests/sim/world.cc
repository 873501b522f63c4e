#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>

namespace muster::sim {
namespace {

constexpr Micros kFaultsFor = 15 * kSecond;
constexpr Micros kSettledAfter = 60 * kSecond;

std::string RunOf(const SimJob& job) {
  const std::string& resume = job.spec.checkpoint.resume;
  return resume.empty() ? "run-" + job.key : resume;
}

}  // namespace

World::World(std::uint64_t the_seed, bool trace, Counts& counts)
    : seed(the_seed),
      random(the_seed),
      nodes(static_cast<std::size_t>(3 + random.Below(5))),
      network(timeline, random, nodes.size()),
      processes(*this),
      coordinator(*this),
      trace_(trace),
      counts_(counts) {}

void World::Trace(const char* format, ...) {
  if (!trace_) return;
  std::printf("%9.4f ", static_cast<double>(timeline.now()) / kSecond);
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

void World::Break(const std::string& promise) {
  if (broken_.empty()) broken_ = promise;
  Trace("BROKEN: %s", promise.c_str());
}

std::string World::Run() {
  MakeNodes();
  MakeJobs();
  const Micros until = random.Between(2 * kSecond, kFaultsFor);
  PlanFaults(until);
  timeline.At(until, [this] { Quieten(); });
  coordinator.Start();
  while (broken_.empty() && timeline.RunOne(until + paused_ + kSettledAfter)) {
    if (!faults_allowed && AllEnded() && Settled().empty()) break;
  }
  if (!broken_.empty()) return broken_;
  CheckAcknowledged();
  if (!AllEnded()) return "a job does not end: " + Unended();
  if (const std::string what = Settled(); !what.empty()) return "left behind: " + what;
  return broken_;
}

void World::MakeNodes() {
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    SimNode& node = nodes[i];
    node.index = i;
    node.name = "n" + std::to_string(i);
    node.slots = static_cast<std::uint32_t>(random.Between(2, 4));
    node.block = random.Chance(50) ? "a" : "b";
    node.clock = {.zero_ns = random.Between(1, 1'000'000'000) * 1000,
                  .ns_per_us = random.Between(990, 1010)};
    timeline.After(random.Between(0, 500) * kMilli, [this, i] { processes.StartAgent(nodes[i]); });
  }
}

void World::MakeJobs() {
  const std::int64_t count = random.Between(1, 4);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string key = "key" + std::to_string(i);
    SimJob& job = jobs[key];
    job.key = key;
    const auto most = std::min<std::int64_t>(4, static_cast<std::int64_t>(nodes.size()) - 1);
    job.spec.nodes = static_cast<std::uint32_t>(random.Between(1, most));
    if (seed > kLastRigidSeed && (seed + static_cast<std::uint64_t>(i)) % 2 == 0)
      job.spec.min_nodes = 1;
    job.spec.ranks_per_node = static_cast<std::uint32_t>(random.Below(3));
    job.spec.program.argv = {"train"};
    job.spec.restart.max = static_cast<std::uint32_t>(random.Below(5));
    job.spec.grace_ms = static_cast<std::uint32_t>(random.Between(100, 2000));
    if (random.OneIn(8)) job.spec.time_limit_s = static_cast<std::uint32_t>(random.Between(1, 8));
    job.spec.attached = random.OneIn(3);
    if (random.Chance(70)) job.spec.checkpoint.store = "/ckpt";
    if (seed > kLastOwnRunsSeed) job.spec.checkpoint = {.store = "/ckpt", .resume = kSharedRun};
    job.work = random.Between(100, 6000) * kMilli;
    job.badness = random.Chance(60) ? 0 : static_cast<int>(random.Between(5, 40));
    timeline.After(random.Between(200, 4000) * kMilli, [this, key] { Submit(key, 0); });
    if (random.OneIn(5)) Submit2(key);
    const auto cancel = [&](CauseKind kind, Micros when) {
      timeline.After(when, [this, key, kind] { CancelJob(key, kind, 0); });
    };
    if (random.OneIn(4)) {
      const Micros when = random.Between(500, 9000) * kMilli;
      cancel(CauseKind::kCancelled, when);
      if (random.OneIn(2)) cancel(CauseKind::kCancelled, when + random.Between(1, 1500) * kMilli);
    }
    if (job.spec.attached && random.OneIn(3)) {
      cancel(CauseKind::kClientLost, random.Between(500, 9000) * kMilli);
    }
    if (random.OneIn(4)) {
      timeline.After(random.Between(1000, 9000) * kMilli, [this, key] {
        const SimJob& me = jobs[key];
        if (me.acknowledged) coordinator.Ask(JobSignalled{*me.acknowledged, 10}, {});
      });
    }
  }
}

void World::Submit2(const std::string& key) {
  timeline.After(random.Between(200, 4000) * kMilli, [this, key] {
    Count("submitted twice with one key");
    Submit(key, 0);
  });
}

// People repeat themselves until they are answered.
void World::Submit(const std::string& key, int tries) {
  SimJob& job = jobs[key];
  if (job.refused || tries > 100) return;
  const JobSubmitted event{key, RunOf(job), "secret", job.spec, {}};
  auto answered = std::make_shared<bool>(false);
  coordinator.Ask(event, [this, key, answered](const Decision& decision) {
    SimJob& me = jobs[key];
    *answered = true;
    if (!decision.accepted) {
      me.refused = !me.acknowledged;
      if (me.acknowledged) Break("a job was accepted, then refused");
      return Count("job refused");
    }
    if (me.acknowledged && *me.acknowledged != *decision.accepted) {
      Break("one submission became two jobs");
    }
    me.acknowledged = decision.accepted;
  });
  timeline.After(random.Between(50, 1500) * kMilli, [this, key, tries, answered] {
    if (!*answered) Submit(key, tries + 1);
  });
}

void World::CancelJob(const std::string& key, CauseKind kind, int tries) {
  SimJob& job = jobs[key];
  if (!job.acknowledged || tries > 100) return;
  job.cancelled = true;
  if (kind == CauseKind::kClientLost) Count("client lost");
  auto answered = std::make_shared<bool>(false);
  coordinator.Ask(JobCancelled{*job.acknowledged, {.kind = kind, .text = "asked by the world"}},
                  [answered](const Decision&) { *answered = true; });
  timeline.After(random.Between(50, 1500) * kMilli, [this, key, kind, tries, answered] {
    if (!*answered) CancelJob(key, kind, tries + 1);
  });
}

// ---- checks -------------------------------------------------------------------------------------

void World::NoteAccepted(JobId job, const std::string& key) {
  keys_[job] = key;
}

SimJob* World::JobOf(JobId job) {
  return &jobs.at(keys_.at(job));
}

AttemptTruth* World::TruthOf(JobId job, AttemptNumber attempt) {
  return &JobOf(job)->attempts[attempt];
}

Store& World::StoreOf(JobId job) {
  return stores_[RunOf(*JobOf(job))];
}

const SimNode* World::NodeNamed(const NodeName& name) const {
  for (const SimNode& node : nodes) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

void World::CheckFork(const Daemon& daemon) {
  const AttemptTruth& truth = *TruthOf(daemon.job, daemon.state.status.attempt);
  Count("ranks forked");
  if (truth.prepared.size() != daemon.state.order->hosts.size()) Break("a partial gang runs");
  if (truth.first_left && timeline.now() > *truth.first_left + FenceAtMost(truth)) {
    Break("ranks are forked long after a member left");
  }
}

void World::CheckOneAttempt(JobId job) {
  int alive = 0;
  for (const auto& [number, truth] : JobOf(job)->attempts) alive += truth.alive > 0 ? 1 : 0;
  if (alive > 1) Break("ranks of two attempts of one job run at once");
  int jobs_alive = 0;
  for (const auto& [key, other] : jobs) {
    if (RunOf(other) != RunOf(*JobOf(job))) continue;
    jobs_alive += std::any_of(other.attempts.begin(), other.attempts.end(),
                              [](const auto& attempt) { return attempt.second.alive > 0; });
  }
  if (jobs_alive > 1) Break("ranks of two jobs of one run run at once");
}

// From now on no one else can have a proof that all members are in the attempt.
void World::NoteLeft(const JobdState& state) {
  const JobId job = state.status.job;
  const AttemptNumber attempt = state.status.attempt;
  AttemptTruth& truth = *TruthOf(job, attempt);
  if (truth.first_left) return;
  truth.first_left = timeline.now();
  truth.paused_before = paused_;
  timeline.After(kFenceAtMost + kSlowestKill, [this, job, attempt] { CheckFenced(job, attempt); });
}

// Clocks go on in a pause, and who was paused is forgiven.
Micros World::FenceAtMost(const AttemptTruth& truth) const {
  const Micros paused = paused_ - truth.paused_before;
  return kFenceAtMost + (paused > 0 ? paused + kForgivenAtMost : 0);
}

void World::CheckFenced(JobId job, AttemptNumber attempt) {
  const AttemptTruth& truth = *TruthOf(job, attempt);
  if (truth.alive == 0) return;
  const Micros until = *truth.first_left + FenceAtMost(truth) + kSlowestKill;
  if (timeline.now() >= until) return Break("ranks outlive the fence time of their gang");
  timeline.At(until, [this, job, attempt] { CheckFenced(job, attempt); });
}

// Ranks that left because they were asked to have not done what the job is for.
void World::CheckNotAsked(const Job& job) {
  const AttemptTruth* truth = job.attempt ? TruthOf(job.id, job.attempt->number) : nullptr;
  if (truth != nullptr && truth->asked) Break("a job succeeded whose ranks were asked to stop");
}

void World::CheckSlots(const State& state) {
  std::set<std::pair<NodeName, std::uint32_t>> taken;
  for (const auto& [id, job] : state.jobs) {
    if (job.phase != JobPhase::kRunning) continue;
    for (const Member& member : job.attempt->members) {
      const auto node = state.nodes.find(member.host.node);
      if (node == state.nodes.end() || node->second.boot_id != member.boot_id) continue;
      for (const std::uint32_t slot : member.host.slots) {
        if (!taken.insert({member.host.node, slot}).second) Break("a slot is given to two jobs");
      }
    }
  }
  for (const auto& [key, job] : jobs) {
    if (!job.acknowledged) continue;
    const auto found = state.jobs.find(*job.acknowledged);
    if (found == state.jobs.end() || found->second.submit_key != key) {
      Break("an acknowledged submission is lost");
    }
  }
}

void World::CheckAcknowledged() {
  if (coordinator.alive()) CheckSlots(coordinator.state());
}

bool World::AllEnded() {
  if (!coordinator.alive()) return false;
  for (const auto& [key, job] : jobs) {
    if (job.refused) continue;
    if (!job.acknowledged) return false;
    const auto found = coordinator.state().jobs.find(*job.acknowledged);
    if (found == coordinator.state().jobs.end()) return false;
    if (found->second.phase != JobPhase::kEnded) return false;
  }
  return true;
}

std::string World::Unended() {
  for (const auto& [key, job] : jobs) {
    if (job.refused) continue;
    if (!job.acknowledged) return key + " was never accepted";
    const Job& known = coordinator.state().jobs.at(*job.acknowledged);
    if (known.phase == JobPhase::kEnded) continue;
    std::string why;
    for (const std::string& line : Why(coordinator.state(), known.id)) why += "; " + line;
    return "job " + std::to_string(known.id) + why;
  }
  return "";
}

// Nothing is left on nodes that live.
std::string World::Settled() {
  for (const SimNode& node : nodes) {
    if (node.index == 0 || !node.up) continue;
    if (!node.daemons.empty()) return "a daemon on " + node.name;
    if (!node.records.empty()) return "a record on " + node.name;
    const auto known = coordinator.state().nodes.find(node.name);
    if (known == coordinator.state().nodes.end() || known->second.lost) {
      return node.name + " is taken for lost";
    }
    if (!known->second.leftovers.empty()) return "a leftover is expected on " + node.name;
  }
  return "";
}

}  // namespace muster::sim
