#include "launcher/coordinator/attempt.h"
#include "launcher/coordinator/schedule.h"

namespace muster {
namespace {

using Lines = std::vector<std::string>;

Lines WhyPending(const State& state, const Job& job) {
  Lines lines;
  if (job.attempt) {
    lines.push_back("attempt " + std::to_string(job.attempt->number) +
                    " failed: " + Describe(job.cause));
  }
  if (state.nodes.empty()) {
    lines.push_back("waits for nodes: none has registered yet");
    return lines;
  }
  if (std::string run = WaitsForRun(state, job); !run.empty()) {
    lines.push_back(std::move(run));
    return lines;
  }
  const Placement placement = Place(ViewFor(state, job), WishOf(job.spec));
  if (!placement.hosts.empty()) {
    lines.push_back("is about to start");
    return lines;
  }
  lines.push_back("waits for slots: " + placement.refusal.summary);
  lines.insert(lines.end(), placement.refusal.per_node.begin(), placement.refusal.per_node.end());
  return lines;
}

std::string Doing(const Member& member) {
  switch (member.phase) {
    case MemberPhase::kNone:
      return "starts its job daemon";
    case MemberPhase::kStarting:
      return "wires up";
    case MemberPhase::kReady:
      return "is ready and waits for the others";
    case MemberPhase::kRunning:
      return "runs its ranks";
    case MemberPhase::kStopping:
      return "ends its ranks";
    default:
      return "has no rank left";
  }
}

// What the end of an attempt waits for on one node.
std::string WaitsFor(const Member& member, bool lost, bool fenced) {
  const NodeName& node = member.host.node;
  if (!lost) return node + ": " + Doing(member) + "; its report is awaited";
  if (fenced) {
    return node + ": is lost; it is taken for stopped once the fence time has passed";
  }
  return node + ": is lost and may still run ranks; it must come back or reboot, or say `muster " +
         "drain --dead " + node + "` if nothing runs there any more";
}

// A node that went silent while its ranks ran.  If they died with it, the others fence themselves
// and say so; only when nobody is left to say it must a person.
std::string Silent(const State& state, const Attempt& attempt, const Member& member) {
  const NodeName& node = member.host.node;
  const std::string line = node + ": its agent is silent; its ranks may go on by themselves";
  for (const Member& other : attempt.members) {
    if (!Over(other) && !state.nodes.at(other.host.node).lost) return line;
  }
  return line + ", and no other node of the job could tell; if it is dead, say `muster drain " +
         "--dead " + node + "`";
}

Lines WhyRunning(const State& state, const Job& job) {
  const Attempt& attempt = *job.attempt;
  const std::string name = "attempt " + std::to_string(attempt.number);
  Lines lines;
  if (attempt.stopping) {
    lines.push_back(name + " is stopping: " + Describe(attempt.cause));
  } else {
    lines.push_back(name + (attempt.running ? " runs" : " is starting"));
  }
  for (const Member& member : attempt.members) {
    const bool lost = state.nodes.at(member.host.node).lost;
    if (attempt.stopping) {
      if (!Over(member)) lines.push_back(WaitsFor(member, lost, attempt.fence_from.has_value()));
    } else if (lost && !Over(member)) {
      lines.push_back(Silent(state, attempt, member));
    } else if (!attempt.running) {
      lines.push_back(member.host.node + ": " + Doing(member));
    }
  }
  return lines;
}

const char* Name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSucceeded:
      return "succeeded";
    case Outcome::kCancelled:
      return "was cancelled";
    case Outcome::kPreempted:
      return "was preempted";
    default:
      return "failed";
  }
}

}  // namespace

std::vector<std::string> Why(const State& state, JobId id) {
  const auto found = state.jobs.find(id);
  if (found == state.jobs.end()) return {"there is no job " + std::to_string(id)};
  const Job& job = found->second;
  switch (job.phase) {
    case JobPhase::kPending:
      return WhyPending(state, job);
    case JobPhase::kRunning:
      return WhyRunning(state, job);
    case JobPhase::kEnded:
      break;
  }
  std::string end = Name(job.outcome);
  if (job.cause.kind != CauseKind::kNone) end += ": " + Describe(job.cause);
  return {end};
}

}  // namespace muster
