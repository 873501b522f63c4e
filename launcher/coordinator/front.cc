#include "launcher/coordinator/front.h"

#include <algorithm>
#include <set>

#include "launcher/coordinator/attempt.h"

namespace muster {
namespace {

constexpr std::uint64_t kFactsPerSnapshot = 10000;

bool IsAboutNodes(const Fact& fact) {
  return std::holds_alternative<NodeRegistered>(fact) ||
         std::holds_alternative<NodeWasLost>(fact) || std::holds_alternative<NodeWasFound>(fact) ||
         std::holds_alternative<NodeDrainSet>(fact);
}

std::set<NodeName> NamesOf(const std::vector<NodeRegistered>& nodes) {
  std::set<NodeName> names;
  for (const NodeRegistered& node : nodes) names.insert(node.name);
  return names;
}

}  // namespace

Status NoSuchJob(JobId job) {
  return Status(Code::kNotFound, "there is no job " + std::to_string(job));
}

Front::Front(const CoordinatorConfig& config, Journal& journal,
             std::function<void(const Told&)> tell)
    : config_(config),
      journal_(journal),
      tell_(std::move(tell)),
      limits_{.fence_margin = config.fence_margin,
              .fence_ms = static_cast<std::uint32_t>(
                  std::chrono::duration_cast<std::chrono::milliseconds>(config.fence).count()),
              .shares = config.shares,
              .nodes = NamesOf(config.nodes)},
      stalls_(config.lease / kForgivenPerLease),
      leases_(config.lease),
      holds_(config.hold) {}

// ---- the life of the process --------------------------------------------------------------------

void Front::Begin(LoadedState loaded, const Moment& at) {
  state_ = std::move(loaded.state);
  facts_since_snapshot_ = loaded.facts_since_snapshot;
  Take(CoordinatorBegan{.cluster = config_.cluster, .nodes = config_.nodes}, at);
  for (const auto& [name, node] : state_.nodes) {
    if (!node.lost) leases_.Heard(name, at.now);
  }
  for (const auto& [id, job] : state_.jobs) {
    if (job.phase != JobPhase::kEnded && job.spec.attached) holds_.Expect(id, at.now);
  }
}

void Front::JournalMoved(const JournalProgress& progress) {
  if (!progress.failure.ok()) {
    Close(progress.failure);
    return;
  }
  durable_ = std::max(durable_, progress.durable);
  while (!gate_.empty() && gate_.front().after <= durable_) {
    const Held held = std::move(gate_.front());
    gate_.pop_front();
    held.leave({});
  }
}

void Front::Leave(std::function<void(const Status&)> leave) {
  if (!failure_.ok()) {
    leave(failure_);
  } else if (gate_.empty() && appended_ <= durable_) {
    leave({});
  } else {
    gate_.push_back({.after = appended_, .leave = std::move(leave)});
  }
}

void Front::Close(const Status& status) {
  if (!failure_.ok()) return;
  failure_ = status;
  for (const Held& held : std::exchange(gate_, {})) held.leave(status);
  for (const auto& [name, agent] : agents_) {
    if (agent.stream) agent.stream->End(status);
  }
  agents_.clear();
  news_.EndAll(status);
  holds_.EndAll(status);
  logs_.EndAll(status);
  execs_.EndAll(status);
  inputs_.EndAll(status);
}

void Front::Tick(const Moment& at) {
  if (!failure_.ok()) return;
  Look(at);
  for (const NodeName& node : leases_.TakeExpired(at.now)) Take(NodeSilent{node}, at);
  for (const JobId job : holds_.TakeAbandoned(at.now)) {
    Take(JobCancelled{.job = job, .cause = {.kind = CauseKind::kClientLost}}, at);
  }
  if (muster::NextDeadline(state_, limits_) <= at.now) Take(Ticked{}, at);
}

TimePoint Front::NextDeadline() const {
  if (!failure_.ok()) return TimePoint::max();
  return std::min({muster::NextDeadline(state_, limits_), leases_.NextDeadline(),
                   holds_.NextDeadline(), stalls_.next()});
}

// Before anything is judged by the time.
void Front::Look(const Moment& at) {
  if (!stalls_.Look(at.now)) return;
  leases_.Forgive(at.now);
  Take(Stalled{}, at);
}

void Front::GiveUp(const Moment& at) {
  std::vector<JobId> alive;
  for (const auto& [id, job] : state_.jobs) {
    if (job.phase != JobPhase::kEnded) alive.push_back(id);
  }
  for (const JobId job : alive) {
    Take(JobCancelled{.job = job, .cause = {.kind = CauseKind::kClientLost}}, at);
  }
}

bool Front::AllOver() const {
  const auto silent = [&](const Member& member) {
    return Over(member) || state_.nodes.at(member.host.node).lost;
  };
  return std::all_of(state_.jobs.begin(), state_.jobs.end(),
                     [&](const auto& item) {
                       const Job& job = item.second;
                       return job.phase == JobPhase::kEnded ||
                              (job.attempt && std::all_of(job.attempt->members.begin(),
                                                          job.attempt->members.end(), silent));
                     }) &&
         std::all_of(state_.nodes.begin(), state_.nodes.end(), [](const auto& node) {
           return node.second.lost || node.second.leftovers.empty();
         });
}

// ---- calls --------------------------------------------------------------------------------------

void Front::Take(const Event& event, const Moment& at, Reply reply) {
  if (!failure_.ok()) {
    if (reply) reply(failure_, 0);
    return;
  }
  Look(at);
  const Decision decision = Decide(state_, event, at.now, limits_);
  Record(decision.facts, at);
  for (const Effect& effect : decision.effects) {
    Leave([this, order = std::get<SendOrder>(effect)](const Status& durable) {
      if (durable.ok()) GiveOrder(order);
    });
  }
  if (!reply) return;
  Leave([reply = std::move(reply), status = decision.status,
         accepted = decision.accepted.value_or(0)](const Status& durable) {
    reply(durable.ok() ? status : durable, accepted);
  });
}

void Front::Record(const std::vector<Fact>& facts, const Moment& at) {
  if (facts.empty()) return;
  appended_ = journal_.Append(facts);
  facts_since_snapshot_ += facts.size();
  if (facts_since_snapshot_ >= kFactsPerSnapshot) {
    journal_.Snapshot(state_);
    facts_since_snapshot_ = 0;
  }
  ShowChanges(facts, at);
}

void Front::ShowChanges(const std::vector<Fact>& facts, const Moment& at) {
  std::set<JobId> changed;
  bool nodes_changed = false, freed = false;
  for (const Fact& fact : facts) {
    const Told told = Tell(state_, fact);
    tell_(told);
    if (told.job != 0 && !told.detail) {
      ShowStory(told.job,
                {.attempt = told.attempt, .node = told.node, .at = at.wall, .text = told.text});
    }
    if (const auto job = JobOf(fact)) changed.insert(*job);
    nodes_changed = nodes_changed || IsAboutNodes(fact);
    freed = freed || std::holds_alternative<AttemptEnded>(fact);
    if (const auto* accepted = std::get_if<JobAccepted>(&fact); accepted != nullptr) {
      if (accepted->spec.attached) holds_.Expect(accepted->job, at.now);
    }
  }
  if (nodes_changed || freed) {  // Why a job waits may have changed.
    for (const JobId job : news_.Watched()) {
      const auto it = state_.jobs.find(job);
      if (it != state_.jobs.end() && it->second.phase == JobPhase::kPending) changed.insert(job);
    }
  }
  for (const JobId job : changed) ShowJob(job);
  if (!logs_.empty()) Carry(logs_.Changed(state_));
  TendInputs();
}

Result<JobPicture> Front::Picture(JobId job) const {
  const auto it = state_.jobs.find(job);
  if (it == state_.jobs.end()) return NoSuchJob(job);
  return JobPicture{.job = it->second,
                    .why = Why(state_, job),
                    .progress = news_.progress(job),
                    .seating = news_.seating(job)};
}

void Front::ShowJob(JobId job) {
  const auto it = state_.jobs.find(job);
  if (it == state_.jobs.end()) return;
  const bool ended = it->second.phase == JobPhase::kEnded;
  if (auto watchers = news_.WatchersOf(job); !watchers.empty()) {
    const auto picture = std::make_shared<const JobPicture>(*Picture(job));
    Leave([watchers = std::move(watchers), picture, ended](const Status& durable) {
      for (const auto& watcher : watchers) {
        if (durable.ok()) watcher->Show(picture);
        if (ended || !durable.ok()) watcher->End(durable);
      }
    });
  }
  if (!ended) return;
  news_.Ended(job);
  Leave([this, job](const Status& durable) {
    if (durable.ok()) holds_.Ended(job);
  });
}

void Front::ShowStory(JobId job, Story story) {
  const Story line = news_.Add(job, state_.lives, std::move(story));
  auto watchers = news_.WatchersOf(job);
  if (watchers.empty()) return;
  Leave([watchers = std::move(watchers), line](const Status& durable) {
    if (!durable.ok()) return;
    for (const auto& watcher : watchers) watcher->Show(line);
  });
}

// ---- agents -------------------------------------------------------------------------------------

NodeRegistered Front::Completed(NodeRegistered node) const {
  for (const NodeRegistered& known : config_.nodes) {
    if (known.name != node.name) continue;
    if (!known.addresses.empty()) node.addresses = known.addresses;
    if (known.slots != 0) node.slots = known.slots;
    if (!known.block.empty()) node.block = known.block;
    if (!known.leaf.empty()) node.leaf = known.leaf;
    if (!known.spine.empty()) node.spine = known.spine;
  }
  return node;
}

bool Front::Current(const NodeName& node, std::uint64_t number) const {
  const auto it = agents_.find(node);
  return it != agents_.end() && it->second.stream && it->second.number == number;
}

void Front::Register(std::uint64_t number, std::shared_ptr<AgentStream> stream, NodeRegistered node,
                     std::vector<JobdStatus> jobds, const Moment& at) {
  if (!failure_.ok()) {
    stream->End(failure_);
    return;
  }
  const bool listed = std::any_of(config_.nodes.begin(), config_.nodes.end(),
                                  [&](const auto& known) { return known.name == node.name; });
  if (!config_.nodes.empty() && !listed) {
    stream->End(Status(Code::kNotFound, "the cluster file names no node '" + node.name +
                                            "'; add it there and restart the coordinator"));
    return;
  }
  Agent& agent = agents_[node.name];
  if (agent.number >= number) {
    stream->End(Status(Code::kAborted, "a newer stream of node " + node.name + " is registered"));
    return;
  }
  if (agent.stream) {
    agent.stream->End(Status(Code::kAborted, "a newer stream of node " + node.name + " took over"));
    execs_.NodeGone(node.name);
    inputs_.NodeGone(node.name);
  }
  agent = {.stream = std::move(stream), .number = number, .incarnation = node.incarnation};
  leases_.Heard(node.name, at.now);
  const NodeName name = node.name;
  for (const JobdStatus& status : jobds) news_.Seated(name, status);
  Take(AgentRegistered{.node = Completed(std::move(node)), .jobds = std::move(jobds)}, at);
  Carry(logs_.NodeBack(state_, name));
  TendInputs();
}

void Front::Heard(const NodeName& node, std::uint64_t number, const Moment& at) {
  if (!Current(node, number)) return;
  if (leases_.Heard(node, at.now)) Take(NodeHeard{node}, at);
}

bool Front::RunsOn(const NodeName& node, JobId job, AttemptNumber attempt) const {
  const auto it = state_.jobs.find(job);
  if (it == state_.jobs.end() || !it->second.attempt) return false;
  if (it->second.attempt->number != attempt) return false;
  const std::vector<Member>& members = it->second.attempt->members;
  return std::any_of(members.begin(), members.end(),
                     [&](const Member& member) { return member.host.node == node; });
}

void Front::Reported(const NodeName& node, std::uint64_t number, const Report& report,
                     const Moment& at) {
  if (!Current(node, number)) return;
  Heard(node, number, at);
  if (const auto* status = std::get_if<JobdStatus>(&report); status != nullptr) {
    news_.Seated(node, *status);
    Take(JobdReported{.node = node, .incarnation = agents_[node].incarnation, .status = *status},
         at);
  } else if (const auto* progress = std::get_if<JobProgress>(&report); progress != nullptr) {
    if (!RunsOn(node, progress->job, progress->attempt)) return;
    if (!progress->note.empty()) {
      ShowStory(
          progress->job,
          {.attempt = progress->attempt, .node = node, .at = at.wall, .text = progress->note});
    }
    if (!progress->note.empty() && progress->step == 0) return;  // Nothing but its note.
    const JobProgress& kept = news_.Progressed(*progress);
    for (const auto& watcher : news_.WatchersOf(progress->job)) watcher->Show(kept);
  } else if (const auto* mark = std::get_if<JobMark>(&report); mark != nullptr) {
    if (!RunsOn(node, mark->job, mark->attempt)) return;
    ShowStory(mark->job, {.attempt = mark->attempt, .node = node, .at = at.wall, .mark = *mark});
  }
}

void Front::AgentClosed(const NodeName& node, std::uint64_t number) {
  if (!Current(node, number)) return;
  agents_[node].stream.reset();
  execs_.NodeGone(node);
  inputs_.NodeGone(node);
}

void Front::GiveOrder(const SendOrder& order) {
  const auto it = agents_.find(order.node);
  if (it == agents_.end() || !it->second.stream) return;
  it->second.stream->GiveOrder(order.incarnation, order.order);
}

}  // namespace muster
