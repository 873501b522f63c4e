#include <algorithm>

#include "launcher/cli/job_file.h"
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

void ReadCheckpoint(Section& top, JobFile& job, Mistakes& mistakes) {
  Section checkpoint(top.Map("checkpoint"), "checkpoint", mistakes);
  checkpoint.Text("store", job.checkpoint.store);
  checkpoint.Count("keep", job.checkpoint.keep, {.least = 1});
  checkpoint.Flag("required", job.checkpoint.required);
  for (const char* key : {"every", "local", "resume"}) checkpoint.NotYet(key);
  if (job.checkpoint.store.rfind("nfs://", 0) == 0) {
    checkpoint.Wrong("store", "is not supported yet as an nfs:// address; name a folder");
  } else if (!job.checkpoint.store.empty() && job.checkpoint.store[0] != '/') {
    checkpoint.Wrong("store", "must begin with /, found '" + job.checkpoint.store + "'");
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

void ReadShape(Section& top, JobFile& job) {
  top.Text("name", job.name);
  if (!job.name.empty() && !IsName(job.name)) {
    top.Wrong("name",
              "takes letters, digits, '.', '-' and '_', at most 63, found '" + job.name + "'");
  }
  top.Count("nodes", job.nodes, {.least = 1, .most = 100'000});
  top.Count("ranks_per_node", job.ranks_per_node, {.most = 100'000});
  top.DurationMs("time_limit", job.time_limit_ms);
  if (job.time_limit_ms % 1000 != 0) top.Wrong("time_limit", "counts whole seconds");
  top.DurationMs("grace", job.grace_ms);
  for (const char* key : {"gpus_per_node", "env_contract", "mesh", "placement", "priority", "queue",
                          "spares", "container", "logs", "deterministic"}) {
    top.NotYet(key);
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
  ReadProgram(top, job);
  ReadRestart(top, job, mistakes);
  ReadCheckpoint(top, job, mistakes);
  top.Done();
  if (!mistakes.empty()) return MistakesStatus(file, mistakes);
  return job;
}

}  // namespace muster
