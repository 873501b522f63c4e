#include "launcher/coordinator/input_desk.h"

#include <algorithm>
#include <utility>

#include "launcher/coordinator/attempt.h"

namespace muster {
namespace {

bool FirstIsOver(const Job& job) {
  if (job.phase == JobPhase::kEnded || job.next_attempt > 1) return true;
  if (!job.attempt) return false;
  const Member* member = MemberOf(*job.attempt, 0);
  return member == nullptr || Over(*member);
}

}  // namespace

void InputDesk::Offer(const State& state, std::uint64_t id, JobId job,
                      std::shared_ptr<InputGiver> giver) {
  const std::string named = "job " + std::to_string(job);
  const auto found = state.jobs.find(job);
  if (found == state.jobs.end()) {
    return giver->End(Status(Code::kNotFound, "there is no " + named));
  }
  const LaunchOptions& launch = found->second.spec.launch;
  if (!launch.stdin_rank0 && !launch.pty) {
    return giver->End(Status(Code::kInvalid, named + " was not submitted to take input"));
  }
  const auto other = std::find_if(givers_.begin(), givers_.end(),
                                  [&](const auto& item) { return item.second.job == job; });
  if (other != givers_.end()) {
    if (!other->second.asked.empty()) {
      return giver->End(Status(Code::kInvalid, named + " has its input from somebody else"));
    }
    // The same one, whose connection broke without our knowing.
    other->second.giver->End(Status(Code::kAborted, "somebody else gives " + named + " its input"));
    givers_.erase(other);
  }
  giver->Offered();
  givers_[id] = {.job = job, .asked = {}, .attached = false, .giver = std::move(giver)};
}

std::vector<AskForInput> InputDesk::Tend(const State& state,
                                         const std::function<bool(const NodeName&)>& connected) {
  std::vector<AskForInput> asks;
  for (auto it = givers_.begin(); it != givers_.end();) {
    auto& [id, entry] = *it;
    const auto found = state.jobs.find(entry.job);
    if (found == state.jobs.end() || FirstIsOver(found->second)) {
      entry.giver->End({});
      it = givers_.erase(it);
      continue;
    }
    ++it;
    const std::optional<Attempt>& attempt = found->second.attempt;
    const Member* member = attempt ? MemberOf(*attempt, 0) : nullptr;
    if (!entry.asked.empty() || member == nullptr || member->phase != MemberPhase::kRunning ||
        !connected(member->host.node)) {
      continue;
    }
    entry.asked = member->host.node;
    entry.giver->Expect(id, entry.asked);
    asks.push_back({entry.asked, {.id = id, .job = entry.job, .attempt = attempt->number}});
  }
  return asks;
}

void InputDesk::Attached(std::uint64_t id) {
  const auto found = givers_.find(id);
  if (found != givers_.end()) found->second.attached = true;
}

void InputDesk::NodeGone(const NodeName& node) {
  for (auto it = givers_.begin(); it != givers_.end();) {
    Entry& entry = it->second;
    if (entry.asked == node && entry.attached) {
      entry.giver->End(
          Status(Code::kAborted, "the agent of node " + node + ", where rank 0 runs, went away"));
      it = givers_.erase(it);
      continue;
    }
    if (entry.asked == node) entry.asked.clear();
    ++it;
  }
}

void InputDesk::EndAll(const Status& status) {
  for (const auto& [id, entry] : givers_) entry.giver->End(status);
  givers_.clear();
}

}  // namespace muster
