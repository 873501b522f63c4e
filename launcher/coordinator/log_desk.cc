#include "launcher/coordinator/log_desk.h"

#include <algorithm>
#include <utility>

namespace muster {
namespace {

constexpr int kBreaks = 3;  // Of one want, while its agent's session stands.

bool Ended(const Job& job) {
  return job.phase == JobPhase::kEnded;
}

bool Overlaps(const std::vector<std::uint32_t>& ranks, const Host& host) {
  if (ranks.empty()) return true;
  return std::any_of(ranks.begin(), ranks.end(), [&](std::uint32_t rank) {
    return rank >= host.first_rank && rank - host.first_rank < host.slots.size();
  });
}

bool IsAsked(const LogsAsked& asked, const NodeName& node) {
  return asked.nodes.empty() ||
         std::find(asked.nodes.begin(), asked.nodes.end(), node) != asked.nodes.end();
}

bool IsLost(const State& state, const NodeName& node) {
  const auto it = state.nodes.find(node);
  return it == state.nodes.end() || it->second.lost;
}

}  // namespace

void LogDesk::Ask(Want want, Reader& reader, std::vector<LogAction>* out) {
  want.want.id = next_want_++;
  want.want.selection = reader.asked.selection;
  want.want.from = reader.reader->Offsets();
  reader.reader->Expect(want.want.id, want.node);
  out->push_back(AskNode{want.node, want.want});
  const std::uint64_t id = want.want.id;
  reader.wants.emplace(id, std::move(want));
}

// Where the ranks of an earlier attempt ran is not known any more: every node looks.
void LogDesk::AskOldAttempts(const State& state, AttemptNumber first, AttemptNumber end,
                             Reader& reader, std::vector<LogAction>* out) {
  if (first >= end) return;
  for (const auto& [name, node] : state.nodes) {
    if (node.incarnation == 0 || !IsAsked(reader.asked, name)) continue;
    Ask({.node = name,
         .want = {.job = reader.asked.job,
                  .first_attempt = first,
                  .last_attempt = end - 1,
                  .last_rank = UINT32_MAX,
                  .ranks = reader.asked.ranks}},
        reader, out);
  }
}

void LogDesk::AskNewAttempt(const Job& job, Reader& reader, std::vector<LogAction>* out) {
  for (const Member& member : job.attempt->members) {
    const Host& host = member.host;
    if (!Overlaps(reader.asked.ranks, host) || !IsAsked(reader.asked, host.node)) continue;
    const auto ranks = static_cast<std::uint32_t>(host.slots.size());
    Ask({.node = host.node,
         .want = {.job = job.id,
                  .first_attempt = job.attempt->number,
                  .last_attempt = job.attempt->number,
                  .first_rank = host.first_rank,
                  .last_rank = host.first_rank + ranks - 1,
                  .ranks = reader.asked.ranks,
                  .follow = reader.asked.follow && !Ended(job)}},
        reader, out);
  }
}

bool LogDesk::AskOn(const State& state, const Job& job, Reader& reader,
                    std::vector<LogAction>* out) {
  if (reader.all_asked || !reader.wants.empty() || !job.attempt) return false;
  const AttemptNumber newest = job.attempt->number;
  if (reader.next_attempt > newest) return false;
  if (reader.next_attempt < newest) {
    AskOldAttempts(state, std::exchange(reader.next_attempt, newest), newest, reader, out);
    return true;
  }
  AskNewAttempt(job, reader, out);
  reader.next_attempt = newest + 1;
  reader.all_asked = !reader.asked.follow;
  return true;
}

void LogDesk::EndWants(const State& state, const Job& job, Reader& reader,
                       std::vector<LogAction>* out) {
  for (auto it = reader.wants.begin(); it != reader.wants.end();) {
    Want& want = it->second;
    const bool over = Ended(job) || (job.attempt && want.want.last_attempt < job.attempt->number);
    if (over && want.want.follow && !want.enough) {
      want.enough = true;
      want.want.follow = false;
      out->push_back(TellEnough{want.node, it->first});
    }
    if (!want.want.follow && IsLost(state, want.node)) {
      if (reader.missing.empty()) reader.missing = want.node;
      it = reader.wants.erase(it);
    } else {
      ++it;
    }
  }
}

bool LogDesk::Settle(const State& state, Reader& reader, std::vector<LogAction>* out) {
  const auto found = state.jobs.find(reader.asked.job);
  if (found == state.jobs.end()) {
    reader.reader->End(Status(Code::kNotFound, "the job is not kept any more"));
    return true;
  }
  const Job& job = found->second;
  do {
    EndWants(state, job, reader, out);
  } while (AskOn(state, job, reader, out));
  const bool more = reader.asked.follow && !reader.all_asked && !Ended(job);
  if (!reader.wants.empty() || more) return false;
  reader.reader->End(reader.missing.empty()
                         ? Status()
                         : Status(Code::kDataLoss, "node " + reader.missing +
                                                       " is lost; what it holds of these logs was "
                                                       "not sent"));
  return true;
}

std::vector<LogAction> LogDesk::Open(const State& state, ListenerId id, LogsAsked asked,
                                     std::shared_ptr<LogReader> reader) {
  std::vector<LogAction> out;
  const Job& job = state.jobs.at(asked.job);
  Reader made{.asked = std::move(asked), .reader = std::move(reader)};
  const LogsAsked& a = made.asked;
  if (a.attempt && (!job.attempt || *a.attempt > job.attempt->number)) {
    const std::string last =
        job.attempt ? "its newest is " + std::to_string(job.attempt->number) : "it has not run yet";
    made.reader->End(Status(Code::kNotFound, "job " + std::to_string(job.id) + " has no attempt " +
                                                 std::to_string(*a.attempt) + "; " + last));
    return out;
  }
  for (const NodeName& node : a.nodes) {
    if (state.nodes.contains(node)) continue;
    made.reader->End(Status(Code::kNotFound, "there is no node '" + node + "' in this cluster"));
    return out;
  }
  if (a.attempt && *a.attempt == job.attempt->number) {
    AskNewAttempt(job, made, &out);
  } else if (a.attempt) {
    AskOldAttempts(state, *a.attempt, *a.attempt + 1, made, &out);
  } else if (!a.all_attempts && job.attempt) {
    made.next_attempt = job.attempt->number;
  }
  made.all_asked = a.attempt.has_value();
  if (!Settle(state, made, &out)) readers_.emplace(id, std::move(made));
  return out;
}

std::vector<LogAction> LogDesk::Close(ListenerId id) {
  std::vector<LogAction> out;
  const auto it = readers_.find(id);
  if (it == readers_.end()) return out;
  for (const auto& [want, what] : it->second.wants) {
    if (!what.enough) out.push_back(TellEnough{what.node, want});
  }
  readers_.erase(it);
  return out;
}

std::vector<LogAction> LogDesk::Changed(const State& state) {
  std::vector<LogAction> out;
  for (auto it = readers_.begin(); it != readers_.end();) {
    it = Settle(state, it->second, &out) ? readers_.erase(it) : std::next(it);
  }
  return out;
}

std::vector<LogAction> LogDesk::NodeBack(const State& state, const NodeName& node) {
  std::vector<LogAction> out;
  for (auto& [id, reader] : readers_) {
    std::vector<Want> again;
    for (auto it = reader.wants.begin(); it != reader.wants.end();) {
      if (it->second.node != node) {
        ++it;
        continue;
      }
      again.push_back(std::move(it->second));
      it = reader.wants.erase(it);
    }
    for (Want& want : again) Ask(std::move(want), reader, &out);
  }
  const std::vector<LogAction> more = Changed(state);
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

std::vector<LogAction> LogDesk::Pushed(const State& state, std::uint64_t id, bool ok) {
  std::vector<LogAction> out;
  for (auto& [listener, reader] : readers_) {
    const auto it = reader.wants.find(id);
    if (it == reader.wants.end()) continue;
    Want want = std::move(it->second);
    reader.wants.erase(it);
    if (!ok && ++want.breaks <= kBreaks) {
      Ask(std::move(want), reader, &out);
    } else if (!ok && reader.missing.empty()) {
      reader.missing = want.node;
    }
    break;
  }
  const std::vector<LogAction> more = Changed(state);
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

void LogDesk::EndAll(const Status& status) {
  for (const auto& [id, reader] : readers_) reader.reader->End(status);
  readers_.clear();
}

}  // namespace muster
