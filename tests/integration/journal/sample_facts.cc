#include "tests/integration/journal/sample_facts.h"

#include <string>
#include <utility>

namespace muster {
namespace {

constexpr std::uint64_t kNodes = 5;
constexpr std::size_t kLivingMax = 4;

std::string NodeOf(std::uint64_t n) {
  return "n" + std::to_string(n);
}

Cause Killed(std::int32_t rank) {
  return {.kind = CauseKind::kSignal,
          .rank = rank,
          .node = "n1",
          .slot = 2,
          .code = 9,
          .text = "rank " + std::to_string(rank) + " was killed\xff"};
}

}  // namespace

SampleFacts::SampleFacts(std::uint64_t seed, std::size_t weight) : chance_(seed), weight_(weight) {}

std::vector<Fact> SampleFacts::Next(const State& state) {
  if (!began_) return NewLife();
  if (std::vector<Fact> swept = Sweep(state); !swept.empty()) return swept;
  if (Below(5) == 0) return NodeNews(state);
  std::vector<const Job*> living;
  for (const auto& [id, job] : state.jobs) {
    if (job.phase != JobPhase::kEnded) living.push_back(&job);
  }
  if (living.empty() || (living.size() < kLivingMax && Below(3) == 0)) return {Accepted(state)};
  return GoOn(*living[Below(living.size())]);
}

std::vector<Fact> SampleFacts::NewLife() {
  began_ = true;
  std::vector<Fact> facts = {CoordinatorStarted{.cluster = "sample", .at = TimePoint(Duration(7))}};
  for (std::uint64_t n = 0; n < kNodes; ++n) {
    facts.emplace_back(NodeRegistered{.name = NodeOf(n),
                                      .addresses = {"10.0.0." + std::to_string(n), "fe80::1"},
                                      .block = "b0",
                                      .leaf = "l0",
                                      .spine = "s0",
                                      .slots = 8,
                                      .incarnation = chance_(),
                                      .boot_id = "boot-" + std::to_string(n)});
  }
  return facts;
}

std::vector<Fact> SampleFacts::NodeNews(const State& state) {
  const NodeName name = NodeOf(Below(kNodes));
  const Node& node = state.nodes.at(name);
  if (Below(2) == 0) {
    return {NodeDrainSet{.name = name, .reason = node.drained.empty() ? "fan is loud" : ""}};
  }
  if (node.lost) return {NodeWasFound{.name = name}};
  return {NodeWasLost{.name = name}};
}

Fact SampleFacts::Accepted(const State& state) {
  JobAccepted fact = {.job = state.next_job};
  fact.submit_key = "key-" + std::to_string(chance_());
  fact.run_id = std::string(32, 'a');
  fact.job_key = std::string("\0\x80", 2) + std::to_string(chance_());
  fact.spec.name = "job";
  fact.spec.nodes = 2;
  fact.spec.program = {.argv = {"/bin/train", "--lr", "0.1"},
                       .environment = {"FILL=" + std::string(weight_, 'x')},
                       .workdir = "/home/u",
                       .limits = {{.resource = 8, .soft = 1, .hard = ~std::uint64_t{0}}}};
  fact.spec.restart = {.max = 3, .never = {2}};
  fact.spec.checkpoint.store = "/mnt/store";
  fact.owner = {.uid = 1000, .gid = 1000, .groups = {4, 27}, .user = "u", .home = "/home/u"};
  return fact;
}

std::vector<Fact> SampleFacts::GoOn(const Job& job) {
  if (job.phase == JobPhase::kPending) {
    const bool over = job.next_attempt > 2 || job.cancel.has_value();
    if (!over) return Place(job);
    return {JobEnded{.job = job.id,
                     .outcome = job.cancel ? Outcome::kCancelled : Outcome::kFailed,
                     .exit_code = job.cancel ? 143 : 137,
                     .cause = job.cause}};
  }
  const Attempt& attempt = *job.attempt;
  if (!job.cancel && Below(8) == 0) {
    return {JobCancelAsked{.job = job.id, .cause = {.kind = CauseKind::kCancelled}}};
  }
  if (attempt.running && Below(3) == 0) return EndAttempt(job);
  const Member& member = attempt.members[Below(attempt.members.size())];
  const auto next = member.phase < MemberPhase::kRunning
                        ? static_cast<MemberPhase>(static_cast<int>(member.phase) + 1)
                        : MemberPhase::kRunning;
  return {MemberChanged{.job = job.id,
                        .attempt = attempt.number,
                        .node = member.host.node,
                        .instance = chance_() | 1U,
                        .phase = next,
                        .port = static_cast<std::uint16_t>(Below(65536))}};
}

std::vector<Fact> SampleFacts::Place(const Job& job) {
  AttemptPlaced fact = {.job = job.id, .attempt = job.next_attempt};
  const std::uint64_t first = Below(kNodes);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const std::uint64_t n = (first + i) % kNodes;
    fact.hosts.push_back({.node = NodeOf(n),
                          .addresses = {"10.0.0." + std::to_string(n)},
                          .first_rank = i * 4,
                          .slots = {0, 1, 2, 3}});
    fact.boot_ids.push_back("boot-" + std::to_string(n));
  }
  fact.at = TimePoint(Duration(static_cast<std::int64_t>(Below(1'000'000'000))));
  return {fact};
}

std::vector<Fact> SampleFacts::EndAttempt(const Job& job) {
  const Attempt& attempt = *job.attempt;
  std::vector<Fact> facts = {
      AttemptStopped{.job = job.id, .attempt = attempt.number, .cause = Killed(3)},
      FenceBegan{.job = job.id,
                 .attempt = attempt.number,
                 .at = TimePoint(Duration(static_cast<std::int64_t>(Below(1'000'000'000))))}};
  for (const Member& member : attempt.members) {
    if (Below(4) == 0) {
      facts.emplace_back(MemberReleased{
          .job = job.id, .attempt = attempt.number, .node = member.host.node, .why = "fenced"});
      continue;
    }
    facts.emplace_back(MemberChanged{.job = job.id,
                                     .attempt = attempt.number,
                                     .node = member.host.node,
                                     .instance = member.instance,
                                     .phase = MemberPhase::kLeft,
                                     .port = member.port,
                                     .asked_to_stop = true});
  }
  facts.emplace_back(
      AttemptEnded{.job = job.id, .attempt = attempt.number, .counts_as_restart = true});
  return facts;
}

std::vector<Fact> SampleFacts::Sweep(const State& state) {
  for (const auto& [name, node] : state.nodes) {
    if (!node.leftovers.empty() && Below(2) == 0) {
      return {LeftoverSwept{.job = *node.leftovers.begin(), .node = name}};
    }
  }
  return {};
}

}  // namespace muster
