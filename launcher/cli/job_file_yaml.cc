#include <algorithm>

#include "launcher/cli/job_file.h"
#include "launcher/cli/limits.h"
#include "launcher/cli/option_checks.h"
#include "launcher/cli/section_yaml.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

const std::vector<std::string> kRestartReasons = {"signal", "node_lost", "exit"};

void ReadRestart(Section& top, JobFile& job, Mistakes& mistakes) {
  Section restart(top.Map("restart"), "restart", mistakes);
  restart.Count("max", job.max_restarts, {.most = 1'000'000});
  restart.Texts("on", job.restart_on);
  for (const std::string& reason : job.restart_on) {
    if (std::find(kRestartReasons.begin(), kRestartReasons.end(), reason) ==
        kRestartReasons.end()) {
      restart.Wrong("on", "knows " + Join(kRestartReasons, ", ") + "; found '" + reason + "'");
    }
  }
  restart.Numbers("never", job.never);
  restart.Done();
}

// A number, or a map of rules.
void ReadKeep(Section& checkpoint, CheckpointPolicy& policy, Mistakes& mistakes) {
  if (!checkpoint.HasMap("keep")) return checkpoint.Count("keep", policy.keep, {.least = 1});
  Section keep(checkpoint.Map("keep"), "checkpoint.keep", mistakes);
  std::string rules;
  for (const char* key : {"last", "every", "best", "metric", "better"}) {
    std::string value;
    keep.Text(key, value);
    if (value.empty()) continue;
    rules += (rules.empty() ? "" : ",") + std::string(key) + "=" + value;
  }
  keep.Done();
  const std::string wrong = SetKeep(rules, policy);
  if (!wrong.empty()) checkpoint.Wrong("keep", "holds a mistake: " + wrong);
}

void ReadCheckpoint(Section& top, JobFile& job, Mistakes& mistakes) {
  Section checkpoint(top.Map("checkpoint"), "checkpoint", mistakes);
  checkpoint.Text("store", job.checkpoint.store);
  ReadKeep(checkpoint, job.checkpoint, mistakes);
  checkpoint.Flag("required", job.checkpoint.required);
  checkpoint.DurationMs("deadline", job.checkpoint.deadline_ms);
  std::uint32_t mb_per_s = 0;
  checkpoint.Count("limit_mb_per_s", mb_per_s, {.least = 1});
  job.checkpoint.bytes_per_s = std::uint64_t{mb_per_s} * 1'000'000;
  checkpoint.NotYet("every");
  checkpoint.Text("resume", job.checkpoint.resume);
  const std::string& resume = job.checkpoint.resume;
  const std::string wrong_run = resume.empty() ? "" : CheckRunId(resume);
  if (!wrong_run.empty()) checkpoint.Wrong("resume", wrong_run);
  const std::string& store = job.checkpoint.store;
  const std::string wrong = store.empty() ? "" : CheckStore(store);
  if (!wrong.empty()) checkpoint.Wrong("store", wrong);
  checkpoint.Text("local", job.checkpoint.local);
  const std::string& local = job.checkpoint.local;
  const std::string wrong_local = local.empty() ? "" : CheckLocalStore(local);
  if (!wrong_local.empty()) checkpoint.Wrong("local", wrong_local);
  checkpoint.Environment("metadata", job.checkpoint.metadata);
  for (const std::string& entry : job.checkpoint.metadata) {
    const std::string wrong_entry = CheckMetadata(entry);
    if (!wrong_entry.empty()) checkpoint.Wrong("metadata", wrong_entry);
  }
  if (!local.empty() && store.empty()) {
    checkpoint.Wrong("local", "is where checkpoints wait for `store`, which is missing");
  }
  if (!resume.empty() && store.empty()) {
    checkpoint.Wrong("resume", "names a run of `store`, which is missing");
  }
  checkpoint.Done();
}

void ReadProgram(Section& top, JobFile& job) {
  top.Texts("command", job.command);
  std::string script;
  top.Text("script", script);
  if (top.Has("command") && top.Has("script")) {
    top.Wrong("script", "stands beside 'command'; give one of them");
  } else if (!script.empty()) {
    job.command = {"/bin/sh", "-c", script};
  } else if (!top.Has("command")) {
    top.Wrong("command",
              "is missing: a list, the program and its arguments, such as [python3, "
              "train.py]");
  } else if (top.Has("command") && (job.command.empty() || job.command[0].empty())) {
    top.Wrong("command", "must name a program, such as [python3, train.py]");
  }
  top.Environment("env", job.environment);
  top.Text("workdir", job.workdir);
  if (!job.workdir.empty() && job.workdir[0] != '/') {
    top.Wrong("workdir", "must begin with /, found '" + job.workdir + "'");
  }
}

// The key's text as one of `names`.
template <typename T>
void Choose(Section& section, const std::string& key, const std::map<std::string, T>& names,
            T& out) {
  std::string text;
  section.Text(key, text);
  if (!section.Has(key)) return;
  const auto found = names.find(text);
  if (found != names.end()) {
    out = found->second;
    return;
  }
  std::vector<std::string> known;
  for (const auto& [name, value] : names) known.push_back(name);
  section.Wrong(key, "knows " + Join(known, ", ") + "; found '" + text + "'");
}

void ReadLaunch(Section& top, JobFile& job) {
  top.Texts("env_contract", job.launch.contracts);
  for (const std::string& contract : job.launch.contracts) {
    if (std::find(kContracts.begin(), kContracts.end(), contract) == kContracts.end()) {
      top.Wrong("env_contract", "knows " + Join(kContracts, ", ") + "; found '" + contract + "'");
    }
  }
  Choose(top, "bind", BindNames(), job.launch.bind);
  Choose(top, "cuda_visible_devices", GpuViewNames(), job.launch.gpu_view);
  top.Text("prolog", job.launch.prolog);
  top.Text("epilog", job.launch.epilog);
  std::vector<std::string> limits;
  top.Environment("limits", limits);
  for (const std::string& text : limits) {
    const auto limit = ParseLimit(text);
    if (!limit.ok()) top.Wrong("limits", "is wrong: " + limit.status().message());
    if (limit.ok()) job.limits.push_back(*limit);
  }
}

void ReadNodes(Section& top, JobFile& job, Mistakes& mistakes) {
  constexpr Bounds kNodes{.least = 1, .most = 100'000};
  if (!top.HasMap("nodes")) return top.Count("nodes", job.nodes, kNodes);
  Section nodes(top.Map("nodes"), "nodes", mistakes);
  job.min_nodes = 1;
  nodes.Count("min", job.min_nodes, kNodes);
  nodes.Count("max", job.nodes, kNodes);
  if (!nodes.Has("max")) top.Wrong("nodes", "must have a 'max', such as {min: 1, max: 4}");
  if (nodes.Has("max") && job.min_nodes > job.nodes) {
    nodes.Wrong("min", "is above 'nodes.max', " + std::to_string(job.nodes));
  }
  nodes.Done();
}

void ReadShape(Section& top, JobFile& job) {
  top.Text("name", job.name);
  if (!job.name.empty() && !IsName(job.name)) {
    top.Wrong("name",
              "takes letters, digits, '.', '-' and '_', at most 63, found '" + job.name + "'");
  }
  top.Count("ranks_per_node", job.ranks_per_node, {.most = 100'000});
  top.DurationMs("time_limit", job.time_limit_ms);
  if (job.time_limit_ms % 1000 != 0) top.Wrong("time_limit", "counts whole seconds");
  top.DurationMs("grace", job.grace_ms);
  for (const char* key : {"gpus_per_node", "mesh", "placement", "priority", "queue", "spares",
                          "container", "logs", "deterministic"}) {
    top.NotYet(key);
  }
  for (const char* key : {"stdin", "pty"}) {
    top.Refuse(key, "belongs to `muster run`, whose caller gives rank 0 its input; remove it");
  }
}

}  // namespace

Result<JobFile> ParseJobFile(const std::string& file, const std::string& text) {
  JobFile job;
  Mistakes mistakes;
  const YAML::Node root = ParseYaml(text, mistakes);
  if (mistakes.empty() && !root.IsMap()) {
    mistakes.push_back({1, 1, "a job file is a map of keys, found " + Describe(root)});
  }
  if (!mistakes.empty()) return MistakesStatus(file, mistakes);
  Section top(root, "", mistakes);
  ReadShape(top, job);
  ReadNodes(top, job, mistakes);
  ReadLaunch(top, job);
  ReadProgram(top, job);
  ReadRestart(top, job, mistakes);
  ReadCheckpoint(top, job, mistakes);
  top.Done();
  if (!mistakes.empty()) return MistakesStatus(file, mistakes);
  return job;
}

}  // namespace muster
