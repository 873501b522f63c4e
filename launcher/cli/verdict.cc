#include "launcher/cli/verdict.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "launcher/cli/render.h"
#include "runtime/base/cause.h"
#include "runtime/base/signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string Seconds(std::int64_t ms) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", static_cast<double>(ms) / 1000);
  return text.data();
}

std::string Where(const Cause& cause) {
  std::string text = cause.rank >= 0 ? "rank " + std::to_string(cause.rank) : "the job";
  if (!cause.node.empty()) text += " on " + cause.node;
  if (cause.rank >= 0) text += " (slot " + std::to_string(cause.slot) + ")";
  return text;
}

std::string At(const Cause& cause) {
  return cause.wall_us == 0 ? "" : " at " + Iso(cause.wall_us);
}

// A rank that says itself that a peer went first, and yet no better cause was found.
std::string Doubt(const Cause& cause) {
  return cause.consequence ? " over a lost connection (no rank is known to have failed before)"
                           : "";
}

std::string MemorySentence(const Cause& cause) {
  const std::string used = MemoryText(cause);
  return "out of memory: " + Where(cause) + (used.empty() ? "" : " " + used + " and") +
         " was killed by SIGKILL";
}

bool FailedByARank(const JobView& job) {
  return job.end == JobView::End::kFailed && job.cause.rank >= 0;
}

// Its text is the end of the rank's stderr; that of the other kinds stands in the sentence.
bool HasLastWords(const JobView& job) {
  const CauseKind kind = job.cause.kind;
  return !job.cause.text.empty() &&
         (kind == CauseKind::kExit || kind == CauseKind::kSignal ||
          kind == CauseKind::kOutOfMemory || kind == CauseKind::kAborted);
}

std::string Because(const std::string& what, const Cause& cause) {
  return cause.text.empty() ? what : what + ": " + cause.text;
}

std::size_t RanksOf(const JobView& job) {
  std::size_t ranks = 0;
  for (const MemberView& member : job.members) ranks += member.slots.size();
  return ranks;
}

}  // namespace

std::string Iso(std::int64_t wall_us) {
  using std::chrono::sys_days, std::chrono::microseconds, std::chrono::milliseconds;
  const std::chrono::sys_time<microseconds> at{microseconds(wall_us)};
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(std::chrono::floor<milliseconds>(at - day));
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
                static_cast<int>(time.subseconds().count()));
  return text.data();
}

std::string LastWordsOf(const JobView& job) {
  if (!HasLastWords(job)) return "";
  std::string text = "muster: the last lines of stderr of " + Where(job.cause) + ":\n";
  std::vector<std::string> lines = Split(job.cause.text, '\n');
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (const std::string& line : lines) text += (line.empty() ? "" : "    " + line) + "\n";
  return text;
}

std::string CauseSentence(const Cause& cause) {
  const std::string where = Where(cause);
  const std::string at_node = cause.node.empty() ? "" : " " + cause.node;
  switch (cause.kind) {
    case CauseKind::kNone:
      return "";
    case CauseKind::kExit:
      return where + " left with exit status " + std::to_string(cause.code) + Doubt(cause) +
             At(cause);
    case CauseKind::kSignal:
      return where + " was killed by " + SignalName(cause.code) + Doubt(cause) + At(cause);
    case CauseKind::kOutOfMemory:
      return MemorySentence(cause) + At(cause);
    case CauseKind::kNotFound:
      return cause.text.empty() ? where + " could not start: the program was not found"
                                : cause.text;
    case CauseKind::kNotExecutable:
      return cause.text.empty() ? where + " could not start: the program cannot be executed"
                                : cause.text;
    case CauseKind::kAborted:
      return where + " called MPI_Abort with " + std::to_string(cause.code) + Doubt(cause) +
             At(cause);
    case CauseKind::kSingleton:
      return where + " uses MPI but never met its PMIx server: every rank would run alone";
    case CauseKind::kPeerLost:
      return Because("another node fell silent", cause);
    case CauseKind::kNodeLost:
      return Because("node" + at_node + " was lost", cause);
    case CauseKind::kJobdLost:
      return Because("the job daemon" + (at_node.empty() ? "" : " on" + at_node) + " died", cause);
    case CauseKind::kPmixLost:
      return Because("the PMIx server" + (at_node.empty() ? "" : " on" + at_node) + " died", cause);
    case CauseKind::kLaunch:
      return Because("node" + at_node + " could not start the job", cause);
    case CauseKind::kStore:
      return Because("the checkpoint store failed", cause);
    case CauseKind::kSuperseded:
      return Because("a newer attempt owns the checkpoint store", cause);
    case CauseKind::kCancelled:
      return Because("it was cancelled", cause);
    case CauseKind::kTimeLimit:
      return "its time limit is over";
    case CauseKind::kClientLost:
      return "the `muster run` that held it is gone";
  }
  return "";
}

std::string EndReport(const JobView& job, std::optional<std::int64_t> ran_ms) {
  if (job.end == JobView::End::kSucceeded) return "";
  std::string text = LastWordsOf(job);
  text += "muster: job " + std::to_string(job.id) + " " + StateWord(job);
  const std::string cause = CauseSentence(job.cause);
  if (!cause.empty()) text += ": " + cause;
  if (ran_ms) text += ", " + Seconds(*ran_ms) + " after the start";
  if (job.attempt && *job.attempt > 0) text += ", in attempt " + std::to_string(*job.attempt);
  if (job.restarts > 0) {
    text += " (" + std::to_string(job.restarts) + (job.restarts == 1 ? " restart)" : " restarts)");
  }
  const std::size_t others = RanksOf(job) - std::min<std::size_t>(1, RanksOf(job));
  if (FailedByARank(job) && others > 0) {
    text += others == 1
                ? "; the other rank was stopped because of it"
                : "; the other " + std::to_string(others) + " ranks were stopped because of it";
  }
  return text + "\n";
}

std::string ResumeAdvice(const JobView& job, const CheckpointPolicy& checkpoint) {
  if (job.end == JobView::End::kSucceeded || checkpoint.store.empty()) return "";
  const bool no_use = job.cause.kind == CauseKind::kStore ||
                      job.cause.kind == CauseKind::kSuperseded || !checkpoint.resume.empty();
  if (no_use) return "";
  return "muster: --checkpoint-resume " + job.run_id + " goes on from what is committed in " +
         checkpoint.store + "\n";
}

std::string RestartReport(const JobView& job) {
  const std::string cause = CauseSentence(job.cause);
  return "muster: " + (cause.empty() ? "an attempt failed" : cause) + "; job " +
         std::to_string(job.id) + " starts again (restart " + std::to_string(job.restarts) +
         " of " + std::to_string(job.max_restarts) + ")\n";
}

}  // namespace muster
