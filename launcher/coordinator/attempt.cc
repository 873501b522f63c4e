#include "launcher/coordinator/attempt.h"

#include <algorithm>

#include "runtime/base/cause.h"
#include "runtime/base/signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::int32_t kKill = 9;

// What somebody asked for explains more than anything that failed.
int Strength(const Job& job, const Cause& cause) {
  const bool asked = cause.kind == CauseKind::kTimeLimit || cause.kind == CauseKind::kClientLost ||
                     (cause.kind == CauseKind::kCancelled && job.cancel);
  return asked ? kStrongest + 1 : Strength(cause);
}

bool MayRetry(const RestartPolicy& policy, const Cause& cause) {
  const auto never = [&](std::int32_t code) {
    return std::find(policy.never.begin(), policy.never.end(), code) != policy.never.end();
  };
  switch (cause.kind) {
    case CauseKind::kExit:
      return policy.on_exit && cause.code != 126 && cause.code != 127 && !never(cause.code);
    case CauseKind::kAborted:
      return policy.on_exit && !never(cause.code);
    case CauseKind::kSignal:
    case CauseKind::kOutOfMemory:
      return policy.on_signal;
    case CauseKind::kPeerLost:
    case CauseKind::kNodeLost:
    case CauseKind::kJobdLost:
    case CauseKind::kPmixLost:
    case CauseKind::kLaunch:
      return policy.on_node_lost;
    default:
      return false;
  }
}

std::int32_t ExitCode(const Cause& cause) {
  switch (cause.kind) {
    case CauseKind::kExit:
    case CauseKind::kAborted:
      return cause.code != 0 ? cause.code : 1;
    case CauseKind::kSignal:
      return 128 + cause.code;
    case CauseKind::kOutOfMemory:
      return 128 + kKill;
    case CauseKind::kNotFound:
      return 127;
    case CauseKind::kNotExecutable:
      return 126;
    case CauseKind::kPeerLost:
    case CauseKind::kNodeLost:
    case CauseKind::kJobdLost:
    case CauseKind::kPmixLost:
    case CauseKind::kLaunch:
      return 71;
    case CauseKind::kSuperseded:
      return 75;
    case CauseKind::kTimeLimit:
      return 124;
    case CauseKind::kCancelled:
    case CauseKind::kClientLost:
      return 143;
    default:
      return 1;
  }
}

std::string What(const Cause& cause) {
  const std::string code = std::to_string(cause.code);
  switch (cause.kind) {
    case CauseKind::kNone:
      return "nothing failed";
    case CauseKind::kExit:
      return "left with exit code " + code;
    case CauseKind::kSignal:
      return "was killed by " + SignalName(cause.code);
    case CauseKind::kOutOfMemory:
      return "was killed: out of memory" +
             (MemoryText(cause).empty() ? "" : ", " + MemoryText(cause));
    case CauseKind::kNotFound:
      return "could not start: the program was not found";
    case CauseKind::kNotExecutable:
      return "could not start: the program is not executable";
    case CauseKind::kAborted:
      return "called MPI_Abort with " + code;
    case CauseKind::kSingleton:
      return "runs MPI alone: it never met its PMIx server";
    case CauseKind::kPeerLost:
      return "a job daemon lost another";
    case CauseKind::kNodeLost:
      return "the node was lost";
    case CauseKind::kJobdLost:
      return "the job daemon died";
    case CauseKind::kPmixLost:
      return "the PMIx server died";
    case CauseKind::kLaunch:
      return "the attempt could not be started";
    case CauseKind::kStore:
      return "the store failed";
    case CauseKind::kSuperseded:
      return "a newer generation of the run owns the store";
    case CauseKind::kCancelled:
      return "it was cancelled";
    case CauseKind::kTimeLimit:
      return "the time limit was reached";
    case CauseKind::kClientLost:
      return "the `muster run` that held it went away";
  }
  return "unknown";
}

// The first line; of a traceback of Python the last, which has the exception.
std::string TellingLine(const std::string& text) {
  std::vector<std::string> lines = Split(text, '\n');
  std::erase(lines, "");
  if (lines.empty()) return "";
  const bool traceback = std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("Traceback (most recent call last)");
  });
  return traceback ? lines.back() : lines.front();
}

}  // namespace

const Member* FindMember(const Job& job, const NodeName& node) {
  if (!job.attempt) return nullptr;
  for (const Member& member : job.attempt->members) {
    if (member.host.node == node) return &member;
  }
  return nullptr;
}

const Member* MemberOf(const Attempt& attempt, std::uint32_t rank) {
  for (const Member& member : attempt.members) {
    const std::uint32_t first = member.host.first_rank;
    if (rank >= first && rank - first < member.host.slots.size()) return &member;
  }
  return nullptr;
}

std::uint32_t WorldSize(const Attempt& attempt) {
  std::size_t ranks = 0;
  for (const Member& member : attempt.members) ranks += member.host.slots.size();
  return static_cast<std::uint32_t>(ranks);
}

bool Over(const Member& member) {
  return member.released || member.phase == MemberPhase::kFinished ||
         member.phase >= MemberPhase::kLeft;
}

bool AllOver(const Attempt& attempt) {
  return std::all_of(attempt.members.begin(), attempt.members.end(), Over);
}

bool VouchesNoMore(const Member& member) {
  return member.released || member.vouches_no_more;
}

int Progress(MemberPhase phase) {
  switch (phase) {
    case MemberPhase::kFinished:
      return static_cast<int>(MemberPhase::kStopping);
    case MemberPhase::kStopping:
      return static_cast<int>(MemberPhase::kFinished);
    default:
      return static_cast<int>(phase);
  }
}

bool WentWell(const Attempt& attempt) {
  const auto asked = [](const Member& member) { return member.asked_to_stop; };
  const auto finished = [](const Member& m) { return m.phase == MemberPhase::kFinished; };
  const std::vector<Member>& members = attempt.members;
  if (std::any_of(members.begin(), members.end(), asked)) return false;
  return attempt.cause.kind == CauseKind::kNone ||
         std::all_of(members.begin(), members.end(), finished);
}

bool Explains(const Job& job, const Cause& newer, const Cause& known) {
  const int difference = Strength(job, newer) - Strength(job, known);
  return difference > 0 || (difference == 0 && SaysMore(newer, known));
}

std::uint32_t StopGrace(const Job& job) {
  return job.cancel && job.cancel->code != kKill ? job.spec.grace_ms : 0;
}

TimePoint FenceDeadline(const Attempt& attempt, const Limits& limits) {
  if (!attempt.fence_from) return TimePoint::max();
  return *attempt.fence_from + std::chrono::milliseconds(limits.fence_ms) + limits.fence_margin;
}

TimePoint TimeLimit(const Job& job) {
  if (job.phase != JobPhase::kRunning || job.attempt->stopping || job.spec.time_limit_s == 0 ||
      !job.attempt->started_at) {
    return TimePoint::max();
  }
  return *job.attempt->started_at + std::chrono::seconds(job.spec.time_limit_s);
}

Verdict Judge(const Job& job) {
  const Attempt& attempt = *job.attempt;
  if (WentWell(attempt)) return {.outcome = Outcome::kSucceeded};
  if (job.cancel) {
    const bool cancelled = job.cancel->kind != CauseKind::kTimeLimit;
    return {.outcome = cancelled ? Outcome::kCancelled : Outcome::kFailed,
            .exit_code = ExitCode(*job.cancel),
            .cause = *job.cancel};
  }
  // Asked to stop, but not by the job's user.
  if (attempt.cause.kind == CauseKind::kNone || attempt.cause.kind == CauseKind::kCancelled ||
      attempt.cause.kind == CauseKind::kSuperseded) {
    return {.outcome = Outcome::kPreempted, .exit_code = 75, .cause = attempt.cause};
  }
  const bool again =
      job.restarts < job.spec.restart.max && MayRetry(job.spec.restart, attempt.cause);
  return {.again = again,
          .outcome = Outcome::kFailed,
          .exit_code = ExitCode(attempt.cause),
          .cause = attempt.cause};
}

std::string Describe(const Cause& cause) {
  std::string text = What(cause);
  std::string who;
  if (cause.rank >= 0) who = "rank " + std::to_string(cause.rank);
  if (!cause.node.empty()) who += (who.empty() ? "" : " on ") + cause.node;
  if (!who.empty()) text = who + (cause.rank >= 0 ? " " : ": ") + text;
  if (!cause.text.empty()) text += " (" + TellingLine(cause.text) + ")";
  return text;
}

}  // namespace muster
