#include "launcher/coordinator/story.h"

#include "launcher/coordinator/attempt.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

const char* Name(JobPhase phase) {
  static constexpr const char* kNames[] = {"pending", "running", "ended"};
  return kNames[static_cast<int>(phase)];
}

const char* Name(Outcome outcome) {
  static constexpr const char* kNames[] = {"-", "succeeded", "failed", "cancelled", "preempted"};
  return kNames[static_cast<int>(outcome)];
}

const char* Name(MemberPhase phase) {
  static constexpr const char* kNames[] = {"none",     "starting", "ready", "running", "finished",
                                           "stopping", "left",     "dead",  "gone"};
  return kNames[static_cast<int>(phase)];
}

struct Teller {
  const State& state;

  Told operator()(const CoordinatorStarted& f) const {
    return {.text = "the coordinator of '" + f.cluster + "' began its life " +
                    std::to_string(state.lives)};
  }
  Told operator()(const NodeRegistered& f) const {
    if (f.incarnation == 0) return {.node = f.name, .text = "is in the cluster file"};
    return {.node = f.name, .text = "registered with " + std::to_string(f.slots) + " slots"};
  }
  Told operator()(const NodeWasLost& f) const {
    return {.node = f.name, .text = "was not heard of for longer than its lease"};
  }
  Told operator()(const NodeWasFound& f) const {
    return {.node = f.name, .text = "is heard of again"};
  }
  Told operator()(const NodeDrainSet& f) const {
    return {.node = f.name, .text = f.reason.empty() ? "takes work again" : "drained: " + f.reason};
  }
  Told operator()(const JobAccepted& f) const {
    return {.job = f.job, .text = "accepted '" + f.spec.name + "' of " + f.owner.user};
  }
  Told operator()(const JobCancelAsked& f) const {
    return {.job = f.job, .text = "is to end: " + Describe(f.cause)};
  }
  Told operator()(const AttemptPlaced& f) const {
    std::size_t ranks = 0;
    for (const Host& host : f.hosts) ranks += host.slots.size();
    // Not a name for each of a thousand nodes.
    std::string nodes = std::to_string(f.hosts.size()) + " nodes";
    if (f.hosts.size() <= 8) {
      std::vector<std::string> names;
      for (const Host& host : f.hosts) names.push_back(host.node);
      nodes = Join(names, ", ");
    }
    return {.job = f.job,
            .attempt = f.attempt,
            .text = "placed " + std::to_string(ranks) + " ranks on " + nodes};
  }
  Told operator()(const MemberChanged& f) const {
    return {.job = f.job,
            .attempt = f.attempt,
            .node = f.node,
            .text = std::string("is ") + Name(f.phase),
            .detail = true};
  }
  Told operator()(const MemberReleased& f) const {
    return {.job = f.job, .attempt = f.attempt, .node = f.node, .text = "released: " + f.why};
  }
  Told operator()(const FenceBegan& f) const {
    return {.job = f.job,
            .attempt = f.attempt,
            .text = "waits until the silent members have fenced themselves"};
  }
  Told operator()(const AttemptStopped& f) const {
    return {.job = f.job, .attempt = f.attempt, .text = "stops: " + Describe(f.cause)};
  }
  Told operator()(const AttemptEnded& f) const {
    return {.job = f.job, .attempt = f.attempt, .text = "no rank of it is alive any more"};
  }
  Told operator()(const JobEnded& f) const {
    std::string text = std::string(Name(f.outcome)) + ", exit " + std::to_string(f.exit_code);
    if (f.cause.kind != CauseKind::kNone) text += ": " + Describe(f.cause);
    const auto job = state.jobs.find(f.job);
    const bool ran = job != state.jobs.end() && job->second.attempt.has_value();
    return {.job = f.job, .attempt = ran ? job->second.attempt->number : 0, .text = text};
  }
  Told operator()(const LeftoverSwept& f) const {
    return {.job = f.job, .node = f.node, .text = "has no trace of it", .detail = true};
  }
};

}  // namespace

Told Tell(const State& after, const Fact& fact) {
  return std::visit(Teller{after}, fact);
}

std::string LogLine(const Told& told) {
  std::string line;
  if (told.job != 0) line += "job=" + std::to_string(told.job) + " ";
  if (told.job != 0) line += "attempt=" + std::to_string(told.attempt) + " ";
  if (!told.node.empty()) line += "node=" + told.node + " ";
  if (!line.empty()) line.back() = ':';
  return line.empty() ? told.text : line + " " + told.text;
}

std::optional<JobId> JobOf(const Fact& fact) {
  return std::visit(
      [](const auto& f) -> std::optional<JobId> {
        if constexpr (requires { f.job; }) {
          return f.job;
        } else {
          return std::nullopt;
        }
      },
      fact);
}

std::string Dump(const State& state) {
  std::string text = "cluster '" + state.cluster + "', life " + std::to_string(state.lives) + "\n";
  for (const auto& [name, node] : state.nodes) {
    text += "node " + name + ": " + std::to_string(node.slots) + " slots" +
            (node.lost ? ", lost" : "") +
            (node.drained.empty() ? "" : ", drained: " + node.drained) + ", boot " + node.boot_id +
            "\n";
  }
  for (const auto& [id, job] : state.jobs) {
    text += "job " + std::to_string(id) + " '" + job.spec.name + "': " + Name(job.phase) + " " +
            Name(job.outcome) + ", " + std::to_string(job.restarts) + " restarts";
    if (job.attempt) {
      text += ", attempt " + std::to_string(job.attempt->number);
      for (const Member& member : job.attempt->members) {
        text += " " + member.host.node + "=" + Name(member.phase);
      }
    }
    text += "\n";
  }
  return text;
}

}  // namespace muster
