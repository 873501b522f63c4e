#include "launcher/cli/run_options.h"

#include <map>

#include "launcher/cli/duration.h"
#include "launcher/cli/limits.h"
#include "launcher/cli/mistakes.h"
#include "launcher/cli/option_checks.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string CheckVariable(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) return "";
  return "takes NAME=VALUE; found '" + text + "'";
}

std::string CheckLimit(const std::string& text) {
  const auto limit = ParseLimit(text);
  return limit.ok() ? "" : limit.status().message();
}

std::string CheckNodes(const std::string& text) {
  const auto range = ParseNodes(text);
  return range.ok() ? "" : range.status().message();
}

// Binds a text option that is a length of time.
void AddDuration(CLI::App& app, const char* name, std::uint32_t& out, const char* what) {
  app.add_option_function<std::string>(
         name,
         [&out](const std::string& text) {
           out = static_cast<std::uint32_t>(ParseDuration(text)->count());
         },
         what)
      ->type_name("TIME")
      ->check([](const std::string& text) {
        const auto length = ParseDuration(text);
        if (!length.ok()) return length.status().message();
        return std::string(length->count() > 4'000'000'000 ? "is at most 46d" : "");
      });
}

void AddShape(CLI::App& app, RunCommand& run) {
  app.add_option_function<std::string>(
         "-N,--nodes",
         [&run](const std::string& text) {
           const NodeRange range = *ParseNodes(text);
           run.job.nodes = range.most;
           run.job.min_nodes = range.least == range.most ? 0 : range.least;
         },
         "How many nodes (1); MIN:MAX takes as many as there are")
      ->type_name("N")
      ->check(CheckNodes);
  app.add_option("--ranks-per-node", run.job.ranks_per_node, "Ranks on each node (every slot)")
      ->check(CLI::Range(1U, 100000U));
  app.add_option("--slots", run.slots,
                 "Slots of each node of a private cluster (as many as ranks per node, or 1)")
      ->check(CLI::Range(1U, 4096U));
}

void AddProgram(CLI::App& app, RunCommand& run) {
  app.add_option("--workdir", run.job.workdir, "Where the ranks start (here)")->type_name("DIR");
  app.add_option("--env", run.job.environment,
                 "Set in the ranks' environment, beside what is in yours; may be repeated")
      ->type_name("NAME=VALUE")
      ->check(CheckVariable);
  app.add_option_function<std::vector<std::string>>(
         "--ulimit",
         [&run](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) run.job.limits.push_back(*ParseLimit(text));
         },
         "A limit of each rank, such as core=unlimited or nofile=65536 (yours); may be repeated")
      ->type_name("NAME=VALUE")
      ->check(CheckLimit);
  app.add_option("--prolog", run.job.launch.prolog,
                 "A shell command that each node runs before its ranks");
  app.add_option("--epilog", run.job.launch.epilog,
                 "A shell command that each node runs after its ranks");
}

void AddSurroundings(CLI::App& app, RunCommand& run) {
  app.add_option("--env-contract", run.job.launch.contracts,
                 "Also set the variables of " + Join(kContracts, ", "))
      ->delimiter(',')
      ->type_name("NAME")
      ->check(CLI::IsMember(kContracts));
  app.add_option_function<std::string>(
         "--bind", [&run](const std::string& text) { run.job.launch.bind = BindNames().at(text); },
         "Tie ranks to cores: auto, none, core (its share), numa (a NUMA node) (auto)")
      ->type_name("HOW")
      ->check(CLI::IsMember(BindNames()));
  app.add_option_function<std::string>(
         "--cuda-visible-devices",
         [&run](const std::string& text) { run.job.launch.gpu_view = GpuViewNames().at(text); },
         "What a rank sees: the GPUs of all ranks of its node, or its own (node)")
      ->type_name("node|rank")
      ->check(CLI::IsMember(GpuViewNames()));
}

void AddInput(CLI::App& app, RunCommand& run) {
  static const std::map<std::string, RunInput> kInputs = {
      {"auto", RunInput::kAuto}, {"0", RunInput::kRank0}, {"none", RunInput::kNone}};
  app.add_option_function<std::string>(
         "--stdin", [&run](const std::string& text) { run.input = kInputs.at(text); },
         "Who reads your stdin: 0: rank 0; none: nobody, as a `while read` loop needs it; auto: "
         "rank 0 if it is a pipe, a file or a socket (auto)")
      ->type_name("auto|0|none")
      ->check(CLI::IsMember(kInputs));
  app.add_flag("--pty", run.job.launch.pty, "Rank 0 has your terminal, Ctrl-C and all");
}

}  // namespace

std::string CheckName(const std::string& text) {
  return IsName(text) ? ""
                      : "takes letters, digits, '.', '-' and '_', at most 63; found '" + text + "'";
}

void AddRunOptions(CLI::App& app, RunCommand& run) {
  run.job.max_restarts = 0;
  run.job.never.clear();
  AddShape(app, run);
  AddProgram(app, run);
  AddSurroundings(app, run);
  app.add_option("--max-restarts", run.job.max_restarts, "Start again after a failure (0)")
      ->check(CLI::Range(0U, 1000000U));
  app.add_option("--checkpoint-store", run.job.checkpoint.store,
                 "A folder for checkpoints, or nfs://HOST/EXPORT")
      ->type_name("STORE")
      ->check(CheckStore);
  app.add_option("--checkpoint-local", run.job.checkpoint.local,
                 "A folder of each node (NVMe, /dev/shm) that checkpoints are written to first")
      ->type_name("FOLDER")
      ->check(CheckLocalStore)
      ->needs("--checkpoint-store");
  app.add_option_function<std::string>(
         "--checkpoint-keep",
         [&run](const std::string& rules) { SetKeep(rules, run.job.checkpoint); },
         "Which checkpoints stay, such as last=3,every=6h,best=2,metric=loss_ema (last=3)")
      ->type_name("RULES")
      ->check(CheckKeep)
      ->needs("--checkpoint-store");
  app.add_option("--checkpoint-resume", run.job.checkpoint.resume,
                 "Go on with this run of the store, as `muster show` and `muster ckpt ls` name it")
      ->type_name("RUN")
      ->check(CheckRunId)
      ->needs("--checkpoint-store");
  app.add_option("--checkpoint-metadata", run.job.checkpoint.metadata,
                 "NAME=VALUE that `muster ckpt show` tells of each checkpoint; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->check(CheckMetadata)
      ->needs("--checkpoint-store");
  app.add_flag("!--checkpoint-optional", run.job.checkpoint.required,
               "Go on without checkpoints when the store fails");
  AddDuration(app, "--grace", run.job.grace_ms, "Between asking ranks to stop and killing (30s)");
  AddDuration(app, "--time-limit", run.job.time_limit_ms, "End the job after this long (never)");
  app.add_option("--name", run.job.name, "The job's name (the program's)")->check(CheckName);
  AddShowOptions(app, run.show, /*of_run=*/true);
  AddInput(app, run);
  app.add_flag("--detach", run.detach, "Print the job's number and leave it running");
}

std::string CheckRun(const RunCommand& run) {
  const std::string pty =
      run.job.launch.pty ? "--pty gives rank 0 your terminal; it goes with " : "";
  if (!pty.empty() && run.detach) return pty + "no --detach";
  if (!pty.empty() && run.common.json) return pty + "no --json";
  if (!pty.empty() && run.input == RunInput::kNone) return pty + "no --stdin none";
  if (run.detach && run.input == RunInput::kRank0) {
    return "--stdin 0 needs a run that stays; leave out --detach, or read a file on the node";
  }
  return "";
}

}  // namespace muster
