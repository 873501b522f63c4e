#include "launcher/cli/torchrun_line.h"

#include "launcher/cli/foreign_line.h"
#include "launcher/cli/mistakes.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::uint32_t kMost = 100'000;  // Nodes, and ranks of a node.

const ForeignLauncher& Torchrun() {
  static const ForeignLauncher kTorchrun = [] {
    const std::string rendezvous = "muster needs no rendezvous";
    const std::string master = "muster picks an address that all nodes reach, and a free port";
    const std::string logs =
        "each rank has log files on its node, and they are streamed as well "
        "(muster logs JOB)";
    const auto honoured = FlagFate::kHonoured, ignored = FlagFate::kIgnored;
    ForeignLauncher launcher = {
        .verb = "torchrun",
        .dashes = Dashes::kArgparse,
        .program = "SCRIPT [ARGUMENTS...]",
        .example = "muster torchrun --nnodes 2 --nproc-per-node 8 train.py --epochs 3",
        .about =
            "Runs SCRIPT with `python3 -u` ($PYTHON_EXEC, if set) as torchrun would; one "
            "command for all nodes.\nA flag that is left out is taken from the environment "
            "(PET_NNODES and so on), as by torchrun.",
        .variables = "PET_",
        .flags = {
            {{"--nnodes"},
             "N|MIN:MAX",
             honoured,
             "how many nodes (1); MIN:MAX takes as many as there are"},
            {{"--nproc-per-node"},
             "N|auto|gpu|cpu",
             honoured,
             "ranks on each node (1); auto, gpu and cpu: one for each slot of a node"},
            {{"--max-restarts"}, "N", honoured, "starts again after a failure (0)"},
            {{"--module", "-m"}, "", honoured, "SCRIPT is a Python module"},
            {{"--no-python"}, "", honoured, "SCRIPT is started as it is, without Python"},
            {{"--run-path"}, "", honoured, "as without it: SCRIPT is run by Python"},
            {{"--local-ranks-filter"}, "N,N...", honoured, "streams only these local ranks"},
            {{"--role"}, "NAME", honoured, "ROLE_NAME in the ranks' environment"},
            {{"--numa-binding"},
             "node|socket|exclusive|core-complex",
             honoured,
             "muster run --bind: numa (node, socket) or core (exclusive, core-complex)"},
            {{"--rdzv-backend"}, "NAME", ignored, rendezvous},
            {{"--rdzv-endpoint"}, "HOST:PORT", ignored, rendezvous},
            {{"--rdzv-id"}, "ID", ignored, rendezvous},
            {{"--rdzv-conf"}, "KEY=VALUE,...", ignored, rendezvous},
            {{"--standalone"}, "", ignored, rendezvous},
            {{"--master-addr"}, "HOST", ignored, master},
            {{"--master-port"}, "PORT", ignored, master},
            {{"--local-addr"}, "HOST", ignored, master},
            {{"--node-rank"}, "0", ignored, "one command starts the ranks of every node"},
            {{"--monitor-interval"}, "SECONDS", ignored, "muster sees a rank's death at once"},
            {{"--start-method"}, "METHOD", ignored, "ranks are programs of their own"},
            {{"--use-env"}, "", ignored, "ranks find their place in the environment anyway"},
            {{"--signals-to-handle"}, "LIST", ignored, "muster passes signals on to every rank"},
            {{"--event-log-handler"}, "NAME", ignored, "muster events JOB tells what happened"},
            {{"--log-dir"}, "DIR", ignored, logs},
            {{"--redirects", "-r"}, "STREAMS", ignored, logs},
            {{"--tee", "-t"}, "STREAMS", ignored, logs},
            {{"--logs-specs"}, "NAME", ignored, logs},
            {{"--virtual-local-rank"},
             "",
             FlagFate::kRefused,
             "LOCAL_RANK counts the ranks of a node; leave it out"},
        }};
    for (ForeignFlag& own : OwnFlags()) launcher.flags.push_back(std::move(own));
    return launcher;
  }();
  return kTorchrun;
}

class Translation {
 public:
  Status Take(const FlagUse& use, const std::string& name) {
    const std::string value = use.values.empty() ? "" : use.values[0];
    if (name == "--nnodes") return Nodes(use, value);
    if (name == "--nproc-per-node") return RanksPerNode(use, value);
    if (name == "--local-ranks-filter") return LocalRanks(use, value);
    if (name == "--node-rank") return NodeRank(use, value);
    if (name == "--numa-binding") return Binding(use, value);
    if (name == "--role") run_.job.environment.push_back("ROLE_NAME=" + value);
    if (name == "--max-restarts") {
      const auto restarts = FlagNumber(use, value, 0, 1'000'000);
      if (!restarts.ok()) return restarts.status();
      run_.job.max_restarts = *restarts;
    }
    if (name == "--module") module_ = true;
    if (name == "--no-python") python_ = false;
    if (name == "--run-path") run_path_ = true;
    if (name == "--cluster") run_.common.cluster = value;
    if (name == "--json") run_.common.json = true;
    return {};
  }

  Result<RunCommand> Finish(const std::vector<std::string>& program) {
    if (program.empty() || program[0].empty()) {
      return Status(Code::kInvalid,
                    "no script; put it after the flags, such as: " + Torchrun().example);
    }
    if (module_ && (!python_ || run_path_)) {
      return Status(Code::kInvalid, std::string("--module and ") +
                                        (python_ ? "--run-path" : "--no-python") +
                                        " do not go together: a module is run by Python");
    }
    for (const std::uint32_t rank : run_.local_ranks) {
      const std::uint32_t ranks = run_.job.ranks_per_node;
      if (ranks == 0 || rank < ranks) continue;
      return Status(Code::kInvalid, "--local-ranks-filter: there is no local rank " +
                                        std::to_string(rank) + " among " + std::to_string(ranks) +
                                        ", counted from 0");
    }
    run_.python = python_ || run_path_;
    if (run_.python) run_.job.command = {"python3", "-u"};
    if (module_) run_.job.command.emplace_back("-m");
    run_.job.command.insert(run_.job.command.end(), program.begin(), program.end());
    const std::string base = program[0].substr(program[0].rfind('/') + 1);
    if (IsName(base)) run_.job.name = base;
    return run_;
  }

  static std::vector<std::string> Notes(const ForeignLine& line) {
    return IgnoredNotes(Torchrun(), line);
  }

  Translation() {
    run_.job.max_restarts = 0;
    run_.job.never.clear();
    run_.job.ranks_per_node = 1;
  }

 private:
  Status Nodes(const FlagUse& use, const std::string& value) {
    const std::size_t colon = value.find(':');
    const auto least = FlagNumber(use, value.substr(0, colon), 1, kMost);
    const auto most =
        colon == std::string::npos ? least : FlagNumber(use, value.substr(colon + 1), 1, kMost);
    if (!least.ok() || !most.ok() || *least > *most) {
      return Status(Code::kInvalid, use.spelled +
                                        " takes a number of nodes from 1 to 100000, or MIN:MAX; "
                                        "found '" +
                                        value + "'");
    }
    run_.job.nodes = *most;
    run_.job.min_nodes = *least == *most ? 0 : *least;
    return {};
  }

  Status RanksPerNode(const FlagUse& use, const std::string& value) {
    run_.fill = SlotFill::kNone;
    if (value == "auto") run_.fill = SlotFill::kGpusOrCpus;
    if (value == "gpu") run_.fill = SlotFill::kGpus;
    if (value == "cpu") run_.fill = SlotFill::kCpus;
    run_.job.ranks_per_node = 0;
    if (run_.fill != SlotFill::kNone) return {};
    const auto ranks = FlagNumber(use, value, 1, kMost);
    if (!ranks.ok()) {
      return Status(Code::kInvalid, use.spelled +
                                        " takes a number from 1 to 100000, auto, gpu or cpu; "
                                        "found '" +
                                        value + "'");
    }
    run_.job.ranks_per_node = *ranks;
    return {};
  }

  Status LocalRanks(const FlagUse& use, const std::string& value) {
    run_.local_ranks.clear();
    if (value.empty()) return {};
    for (const std::string& word : Split(value, ',')) {
      const auto rank = FlagNumber(use, word, 0, kMost);
      if (!rank.ok()) return rank.status();
      run_.local_ranks.push_back(*rank);
    }
    return {};
  }

  Status Binding(const FlagUse& use, const std::string& value) {
    const bool numa = value == "node" || value == "socket";
    if (!numa && value != "exclusive" && value != "core-complex") {
      return Status(
          Code::kInvalid,
          use.spelled + " takes node, socket, exclusive or core-complex; found '" + value + "'");
    }
    run_.job.launch.bind = numa ? Bind::kNuma : Bind::kCore;
    return {};
  }

  // A second command, for the second node, would be a second job.
  static Status NodeRank(const FlagUse& use, const std::string& value) {
    const auto rank = FlagNumber(use, value, 0, kMost);
    if (!rank.ok()) return rank.status();
    if (*rank == 0) return {};
    return Status(Code::kInvalid, use.spelled + " " + value +
                                      ": one command starts the ranks of every node; run it once, "
                                      "with " +
                                      use.spelled + " 0 or without");
  }

  RunCommand run_;
  bool module_ = false, python_ = true, run_path_ = false;
};

}  // namespace

Parsed ParseTorchrunLine(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment) {
  return Translate<Translation>(Torchrun(), arguments, environment);
}

}  // namespace muster
