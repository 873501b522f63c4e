#include "launcher/cli/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/cli/exit_status.h"
#include "launcher/cli/seats.h"
#include "launcher/cli/verdict.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

// Bytes that are no UTF-8 are replaced: a program's output may hold anything.
std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string OneLine(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      text += row[i] + (last ? "" : std::string(widths[i] - row[i].size() + 2, ' '));
    }
    text += "\n";
  }
  return text;
}

const char* CauseWord(CauseKind kind) {
  static constexpr std::array<const char*, 18> kWords = {
      "none",    "exit",      "signal",     "out_of_memory", "not_found",  "not_executable",
      "aborted", "singleton", "peer_lost",  "node_lost",     "jobd_lost",  "pmix_lost",
      "launch",  "store",     "superseded", "cancelled",     "time_limit", "client_lost"};
  const auto index = static_cast<std::size_t>(kind);
  return index < kWords.size() ? kWords[index] : "unknown";
}

const char* PhaseWord(MemberPhase phase) {
  static constexpr std::array<const char*, 9> kWords = {
      "none", "starting", "ready", "running", "finished", "stopping", "left", "dead", "gone"};
  const auto index = static_cast<std::size_t>(phase);
  return index < kWords.size() ? kWords[index] : "unknown";
}

// "forward 61%, comm 30%, data 9%": what was most comes first, and what is less than half a percent
// not at all.
std::string PhaseShares(std::vector<PhaseTime> phases) {
  std::uint64_t all = 0;
  for (const PhaseTime& phase : phases) all += phase.us;
  std::stable_sort(phases.begin(), phases.end(),
                   [](const PhaseTime& a, const PhaseTime& b) { return a.us > b.us; });
  std::vector<std::string> shares;
  for (const PhaseTime& phase : phases) {
    const double percent = 100.0 * static_cast<double>(phase.us) / static_cast<double>(all);
    const auto whole = static_cast<int>(std::lround(percent));
    if (whole > 0) shares.push_back(phase.name + " " + std::to_string(whole) + "%");
  }
  return Join(shares, ", ");
}

Json ToJsonValue(const ProgressView& progress) {
  Json json = {{"step", progress.step},
               {"loss", progress.loss},
               {"tokens", progress.tokens},
               {"committed_step", progress.committed_step}};
  if (!progress.phase.empty()) json["phase"] = progress.phase;
  for (const PhaseTime& phase : progress.phases) {
    json["phase_seconds"][phase.name] = static_cast<double>(phase.us) / 1e6;
  }
  return json;
}

// "4", or "1:4" of a job that does with fewer.
std::string NodesText(const JobView& job) {
  const bool range = job.min_nodes != 0 && job.min_nodes != job.nodes;
  return (range ? std::to_string(job.min_nodes) + ":" : "") + std::to_string(job.nodes);
}

// Whether the exit status is the program's own, and not a word of muster's.
bool FromProgram(const JobView& job) {
  if (job.end == JobView::End::kSucceeded) return true;
  if (job.end != JobView::End::kFailed) return false;
  const CauseKind kind = job.cause.kind;
  return kind == CauseKind::kExit || kind == CauseKind::kSignal || kind == CauseKind::kAborted ||
         kind == CauseKind::kOutOfMemory;
}

Json ToJsonValue(const Cause& cause) {
  Json json = {{"kind", CauseWord(cause.kind)}};
  if (cause.rank >= 0) json["rank"] = cause.rank;
  if (!cause.node.empty()) json["node"] = cause.node;
  if (cause.rank >= 0) json["slot"] = cause.slot;
  json["code"] = cause.code;
  if (cause.wall_us != 0) json["at"] = Iso(cause.wall_us);
  if (cause.consequence) json["blames_a_peer"] = true;
  if (cause.limit_bytes != 0) {
    json["memory"] = {{"used_bytes", cause.used_bytes}, {"limit_bytes", cause.limit_bytes}};
  }
  if (!cause.text.empty()) json["text"] = cause.text;
  return json;
}

Json RankOf(const Cause& cause) {
  return cause.rank >= 0 ? Json(cause.rank) : Json(nullptr);
}

Json ToJsonValue(const JobView& job) {
  Json json = {{"job", job.id},
               {"name", job.name},
               {"run_id", job.run_id},
               {"user", job.user},
               {"uid", job.uid},
               {"state", StateWord(job)},
               {"nodes", job.nodes},
               {"min_nodes", job.min_nodes == 0 ? job.nodes : job.min_nodes},
               {"ranks_per_node", job.ranks_per_node},
               {"restarts", job.restarts},
               {"max_restarts", job.max_restarts},
               {"command", job.argv}};
  if (job.attempt) json["attempt"] = *job.attempt;
  if (job.phase == JobView::Phase::kEnded) json["exit"] = job.exit_code;
  if (job.cause.kind != CauseKind::kNone) json["cause"] = ToJsonValue(job.cause);
  json["members"] = Json::array();
  for (const MemberView& member : job.members) {
    json["members"].push_back({{"node", member.node},
                               {"first_rank", member.first_rank},
                               {"slots", member.slots},
                               {"phase", PhaseWord(member.phase)}});
    if (!member.seating.seats.empty()) json["members"].back()["seats"] = SeatsJson(member.seating);
  }
  if (!job.why.empty()) json["why"] = job.why;
  if (job.progress) json["progress"] = ToJsonValue(*job.progress);
  return json;
}

std::string ProgramText(const JobView& job, std::size_t most) {
  std::string text = Join(job.argv, " ");
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

std::size_t RanksOf(const JobView& job) {
  std::size_t ranks = 0;
  for (const MemberView& member : job.members) ranks += member.slots.size();
  return ranks;
}

}  // namespace

std::string StateWord(const JobView& job) {
  switch (job.phase) {
    case JobView::Phase::kPending:
      return job.cancelling ? "cancelling" : job.attempt ? "restarting" : "pending";
    case JobView::Phase::kRunning:
      if (job.cancelling) return "cancelling";
      return job.stopping ? "stopping" : job.running ? "running" : "starting";
    case JobView::Phase::kEnded:
      break;
  }
  static constexpr std::array<const char*, 5> kEnds = {"ended", "succeeded", "failed", "cancelled",
                                                       "preempted"};
  const auto index = static_cast<std::size_t>(job.end);
  return index < kEnds.size() ? kEnds[index] : "ended";
}

std::string JobTable(const std::vector<JobView>& jobs) {
  std::vector<std::vector<std::string>> rows = {
      {"JOB", "NAME", "USER", "STATE", "NODES", "RANKS", "RESTARTS", "EXIT", "COMMAND"}};
  for (const JobView& job : jobs) {
    const std::size_t ranks = RanksOf(job);
    const bool ended = job.phase == JobView::Phase::kEnded;
    rows.push_back({std::to_string(job.id), job.name, job.user, StateWord(job), NodesText(job),
                    ranks == 0 ? "-" : std::to_string(ranks),
                    std::to_string(job.restarts) + "/" + std::to_string(job.max_restarts),
                    ended ? std::to_string(job.exit_code) : "-", ProgramText(job, 40)});
  }
  return Table(rows);
}

std::string NodeTable(const std::vector<ClusterNode>& nodes) {
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "STATE", "SLOTS", "USED", "ADDRESS", "JOBS"}};
  for (const ClusterNode& node : nodes) {
    std::string state = node.lost ? "lost" : "up";
    if (!node.drained.empty()) state += ", drained (" + node.drained + ")";
    std::vector<std::string> jobs;
    for (const JobId job : node.jobs) jobs.push_back(std::to_string(job));
    rows.push_back({node.name, state, std::to_string(node.slots), std::to_string(node.used),
                    node.addresses.empty() ? "-" : node.addresses[0],
                    jobs.empty() ? "-" : Join(jobs, ",")});
  }
  return Table(rows);
}

std::string JobPage(const JobView& job) {
  std::vector<std::vector<std::string>> rows = {
      {"job", std::to_string(job.id)},
      {"name", job.name},
      {"state", StateWord(job)},
      {"user", job.user},
      {"run id", job.run_id},
      {"command", ProgramText(job, 200)},
      {"nodes", NodesText(job)},
      {"restarts", std::to_string(job.restarts) + " of " + std::to_string(job.max_restarts)}};
  if (job.attempt) rows.push_back({"attempt", std::to_string(*job.attempt)});
  if (job.phase == JobView::Phase::kEnded) rows.push_back({"exit", std::to_string(job.exit_code)});
  if (const std::string cause = CauseSentence(job.cause); !cause.empty()) {
    rows.push_back({"cause", cause});
  }
  for (const MemberView& member : job.members) {
    const std::size_t last = member.first_rank + member.slots.size() - 1;
    rows.push_back({"on " + member.node, "ranks " + std::to_string(member.first_rank) + "-" +
                                             std::to_string(last) + ", " +
                                             PhaseWord(member.phase)});
  }
  if (job.progress) {
    rows.push_back({"step", std::to_string(job.progress->step)});
    rows.push_back({"committed", std::to_string(job.progress->committed_step)});
    if (!job.progress->phase.empty()) rows.push_back({"phase", job.progress->phase + " (rank 0)"});
    if (const std::string shares = PhaseShares(job.progress->phases); !shares.empty()) {
      rows.push_back({"time in", shares});
    }
  }
  for (const std::string& why : job.why) rows.push_back({"why", why});
  return Table(rows) + LastWordsOf(job);
}

std::string JobsJson(const std::vector<JobView>& jobs) {
  Json json = Json::array();
  for (const JobView& job : jobs) json.push_back(ToJsonValue(job));
  return Dump(json);
}

std::string JobJson(const JobView& job, const std::vector<CurvePoint>& curve) {
  Json json = ToJsonValue(job);
  for (const CurvePoint& item : curve) {
    Json point = {{"attempt", item.attempt}, {"step", item.point.step}};
    const bool told = !std::isinf(item.point.loss) || item.point.loss > 0;
    if (told) point["loss"] = item.point.loss;  // Null for what JSON has no number for.
    point["tokens"] = item.point.tokens;
    point["at_ms"] = item.point.at_ms;
    json["curve"].push_back(point);
  }
  return Dump(json);
}

std::string NodesJson(const std::vector<ClusterNode>& nodes) {
  Json json = Json::array();
  for (const ClusterNode& node : nodes) {
    json.push_back({{"name", node.name},
                    {"addresses", node.addresses},
                    {"slots", node.slots},
                    {"used", node.used},
                    {"block", node.block},
                    {"leaf", node.leaf},
                    {"spine", node.spine},
                    {"lost", node.lost},
                    {"drained", node.drained},
                    {"boot_id", node.boot_id},
                    {"jobs", node.jobs}});
  }
  return Dump(json);
}

std::string EndJson(const JobView& job, int exit) {
  Json json = {{"job", job.id},
               {"exit", exit},
               {"source", FromProgram(job) ? "program" : "muster"},
               {"state", StateWord(job)},
               {"cause", ToJsonValue(job.cause)}};
  json["rank"] = RankOf(job.cause);
  json["restarts"] = job.restarts;
  return OneLine(json);
}

std::string RestartJson(const JobView& job) {
  return OneLine({{"job", job.id},
                  {"restart", job.restarts},
                  {"max_restarts", job.max_restarts},
                  {"cause", ToJsonValue(job.cause)},
                  {"rank", RankOf(job.cause)}});
}

std::string PlanJson(const std::string& name, bool now, const std::string& sentence) {
  return Dump({{"name", name}, {"starts_now", now}, {"fit", sentence}});
}

std::string FailureJson(const Status& failure, int exit) {
  return Dump({{"exit", exit},
               {"source", "muster"},
               {"cause", {{"kind", CodeName(failure.code())}, {"text", failure.message()}}},
               {"rank", nullptr}});
}

std::string ClusterJson(const std::string& state, const ClusterDescription& cluster, bool alive) {
  return Dump({{"name", cluster.name},
               {"state_dir", state},
               {"runtime_dir", cluster.runtime},
               {"up", alive},
               {"nodes", cluster.nodes},
               {"slots", cluster.slots},
               {"keeper_pid", cluster.keeper_pid}});
}

}  // namespace muster
