#include "launcher/cli/request.h"

#include <algorithm>

#include "launcher/cli/mistakes.h"

namespace muster {
namespace {

bool Has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

std::string JobName(const JobFile& file) {
  if (!file.name.empty()) return file.name;
  const std::string& program = file.command.at(0);
  const std::string base = program.substr(program.rfind('/') + 1);
  return IsName(base) ? base : "job";
}

Program Adjusted(Program program, const JobFile& file) {
  if (!file.workdir.empty()) {
    program.workdir = file.workdir[0] == '/' ? file.workdir : program.workdir + "/" + file.workdir;
  }
  for (const std::string& entry : file.environment) {
    const std::string name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(program.environment,
                  [&](const std::string& other) { return other.rfind(name, 0) == 0; });
    program.environment.push_back(entry);
  }
  for (const ResourceLimit& limit : file.limits) {
    std::erase_if(program.limits,
                  [&](const ResourceLimit& other) { return other.resource == limit.resource; });
    program.limits.push_back(limit);
  }
  return program;
}

JobRequest RequestOf(const JobFile& file, Program program) {
  JobRequest request = {.name = JobName(file),
                        .nodes = file.nodes,
                        .ranks_per_node = file.ranks_per_node,
                        .program = std::move(program),
                        .checkpoint = file.checkpoint,
                        .grace_ms = file.grace_ms,
                        .time_limit_s = (file.time_limit_ms + 999) / 1000,
                        .min_nodes = file.min_nodes,
                        .launch = file.launch};
  request.restart = {.max = file.max_restarts,
                     .on_signal = Has(file.restart_on, "signal"),
                     .on_node_lost = Has(file.restart_on, "node_lost"),
                     .on_exit = Has(file.restart_on, "exit"),
                     .never = file.never};
  return request;
}

Fit FitOf(const JobFile& file, const std::vector<ClusterNode>& nodes) {
  const std::uint32_t wanted = std::max(file.ranks_per_node, 1U);
  std::uint32_t fit_now = 0, fit_ever = 0;
  for (const ClusterNode& node : nodes) {
    const bool whole = file.ranks_per_node != 0 || node.used == 0;
    if (node.slots >= wanted) ++fit_ever;
    const bool usable = !node.lost && node.drained.empty() && whole;
    if (usable && node.slots - node.used >= wanted) ++fit_now;
  }
  const std::uint32_t least = file.min_nodes == 0 ? file.nodes : file.min_nodes;
  const std::string count =
      (least < file.nodes ? std::to_string(least) + " to " : "") + std::to_string(file.nodes);
  const std::string each =
      file.ranks_per_node == 0 ? "all their slots" : std::to_string(wanted) + " slots each";
  return {.now = fit_now >= least,
          .ever = fit_ever >= least,
          .sentence = "needs " + count + " nodes with " + each + "; " + std::to_string(fit_now) +
                      " of " + std::to_string(nodes.size()) + " fit now, " +
                      std::to_string(fit_ever) + " could when idle"};
}

}  // namespace muster
