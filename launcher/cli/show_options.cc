#include "launcher/cli/show_options.h"

#include <CLI/CLI.hpp>
#include <map>

#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kRanksMost = 100'000;

const std::map<std::string, Prefix>& PrefixNames() {
  static const std::map<std::string, Prefix> kNames = {{"auto", Prefix::kAuto},
                                                       {"none", Prefix::kNone},
                                                       {"rank", Prefix::kRank},
                                                       {"full", Prefix::kFull}};
  return kNames;
}

std::string CheckRankSet(const std::string& text) {
  const auto ranks = ParseRanks(text);
  return ranks.ok() ? "" : ranks.status().message();
}

void SetStream(ShowOptions& show, const std::string& stream) {
  show.no_stdout = stream == "err" || stream == "none";
  show.no_stderr = stream == "out" || stream == "none";
}

}  // namespace

Result<std::vector<std::uint32_t>> ParseRanks(const std::string& text) {
  std::vector<std::uint32_t> ranks;
  for (const std::string& word : Split(text, ',')) {
    const std::vector<std::string> ends = Split(word, '-');
    const auto first = ParseUnsigned(ends.front()), last = ParseUnsigned(ends.back());
    const bool sane = first && last && ends.size() <= 2 && *first <= *last && *last <= UINT32_MAX;
    if (!sane || *last - *first + ranks.size() >= kRanksMost) {
      return Status(Code::kInvalid, "takes ranks such as 0,3-5; found '" + text + "'");
    }
    for (std::uint64_t rank = *first; rank <= *last; ++rank) {
      ranks.push_back(static_cast<std::uint32_t>(rank));
    }
  }
  return ranks;
}

void AddShowOptions(CLI::App& app, ShowOptions& show, bool of_run) {
  app.add_option_function<std::string>(
         of_run ? "--show-ranks" : "--rank",
         [&show](const std::string& text) { show.ranks = *ParseRanks(text); },
         "Only the output of these ranks, such as 0,3-5 (all)")
      ->type_name("RANKS")
      ->check(CheckRankSet);
  app.add_option(of_run ? "--show-nodes" : "--node", show.nodes,
                 "Only the output of these nodes, such as n0,n3 (all)")
      ->delimiter(',')
      ->type_name("NODES");
  app.add_option_function<std::string>(
         of_run ? "--show-stream" : "--stream",
         [&show](const std::string& text) { SetStream(show, text); },
         "Only stdout (out) or stderr (err); none: the log files alone have it (both)")
      ->type_name("out|err|none")
      ->check(CLI::IsMember({"both", "out", "err", "none"}));
  app.add_option_function<std::string>(
         "--prefix", [&show](const std::string& text) { show.prefix = PrefixNames().at(text); },
         "Before each line: nothing, its rank \"[3] \", or all \"12:03:07.214 n0 3| \"; auto: all "
         "on "
         "a terminal, else the rank, and for a job of one rank nothing (auto)")
      ->type_name("none|rank|full")
      ->check(CLI::IsMember(PrefixNames()));
  app.add_option_function<std::uint64_t>(
         "--behind", [&show](std::uint64_t mib) { show.behind_bytes = mib << 20; },
         "Leave out lines, and say how many, once this many MiB behind; 0: never (16 on a "
         "terminal, "
         "else 0)")
      ->type_name("MIB")
      ->check(CLI::Range(0U, 1U << 20));
}

std::size_t RanksOf(const JobView& job) {
  std::size_t ranks = 0;
  for (const MemberView& member : job.members) ranks += member.slots.size();
  return ranks;
}

Status CheckRanks(const ShowOptions& show, const JobView& job) {
  const std::size_t ranks = RanksOf(job);
  if (ranks == 0 || job.restarts > 0) return {};  // An earlier attempt may have had more.
  for (const std::uint32_t rank : show.ranks) {
    if (rank < ranks) continue;
    return Status(Code::kInvalid, "job " + std::to_string(job.id) + " has no rank " +
                                      std::to_string(rank) + "; its last one is " +
                                      std::to_string(ranks - 1));
  }
  return {};
}

LogsRequest RequestOf(const ShowOptions& show, JobId job, bool terminal) {
  LogsRequest request = {.job = job, .ranks = show.ranks, .nodes = show.nodes};
  request.selection.no_stdout = show.no_stdout;
  request.selection.no_stderr = show.no_stderr;
  request.selection.behind_bytes = show.behind_bytes.value_or(terminal ? kBehindBytes : 0);
  return request;
}

OutputFormat FormatOf(const ShowOptions& show, JobId job, std::size_t ranks, bool terminal,
                      std::int64_t utc_offset_s) {
  Prefix prefix = show.prefix;
  if (prefix == Prefix::kAuto) {
    const bool one = ranks == 1 || show.ranks.size() == 1;
    prefix = one ? Prefix::kNone : terminal ? Prefix::kFull : Prefix::kRank;
  }
  return {.prefix = prefix, .utc_offset_s = utc_offset_s, .job = job};
}

}  // namespace muster
