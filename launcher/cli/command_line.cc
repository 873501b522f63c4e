#include "launcher/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>

#include "launcher/cli/duration.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/mistakes.h"
#include "launcher/cli/mpirun_line.h"
#include "launcher/cli/option_checks.h"
#include "launcher/cli/run_options.h"
#include "launcher/cli/torchrun_line.h"
#include "launcher/cli/unknown_words.h"
#include "runtime/base/port_range.h"
#include "runtime/base/signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr const char* kVersion = "muster 0.1.0";

// One invocation's view: verbs bind their options to a fresh command, and the last one parsed wins.
class CommandLine {
 public:
  CommandLine() : app_("muster runs distributed training on clusters of GPU servers.", "muster") {
    app_.require_subcommand(0, 1);
    app_.set_version_flag("--version", kVersion);
    app_.set_help_flag("-h,--help", "Print this help");
    app_.get_formatter()->column_width(32);
    app_.footer("Exit status of `run` and `wait`: the job's own. See `muster VERB --help`.");
    Add<RunCommand>("run", "Run a program on the cluster and stream its output",
                    "muster run -N 2 --ranks-per-node 8 -- python3 train.py\n"
                    "  muster run -N 2 -- ./count < words.txt\n"
                    "  muster run --pty -- python3",
                    &CommandLine::Run);
    AddForeign("torchrun", "Run a script as torchrun would: its flags, then the script");
    AddForeign("mpirun", "Run a program as mpirun would: its flags, then the program");
    Add<SubmitCommand>("submit", "Submit a job file", "muster submit job.yaml", &CommandLine::File);
    Add<PlanCommand>("plan", "Check a job file and say where it would run", "muster plan job.yaml",
                     &CommandLine::File);
    Add<ListCommand>("list", "List jobs", "muster list --all", &CommandLine::List);
    Add<ShowCommand>("show", "Show one job", "muster show --bind 7", &CommandLine::Show);
    Add<WhyCommand>("why", "Say why a job is where it is", "muster why 7", &CommandLine::Job);
    Add<LogsCommand>("logs", "Print what a job's ranks wrote", "muster logs -f --rank 0 7",
                     &CommandLine::Logs);
    Add<EventsCommand>("events", "Tell a job's story until it ended", "muster events 7",
                       &CommandLine::Events);
    Add<WaitCommand>("wait", "Wait until a job ended; leave with its exit status", "muster wait 7",
                     &CommandLine::Job);
    Add<CancelCommand>("cancel", "End a job, with grace", "muster cancel 7 --grace 5m",
                       &CommandLine::Cancel);
    Add<SignalCommand>("signal", "Send a signal to the ranks of a job",
                       "muster signal 7 USR1\n  muster signal 7 TERM --rank 3",
                       &CommandLine::Signal);
    Add<ExecCommand>(
        "exec", "Run a program beside a rank: on its node, in its environment",
        "muster exec 7 --rank 3 -- py-spy dump --pid {pid}\n\n"
        "{pid} stands for the rank's process, as $MUSTER_RANK_PID does in the program's "
        "environment.\nIt ends with the job, or with this command.",
        &CommandLine::Exec);
    Add<TraceCommand>(
        "trace", "Write what the ranks did last: for Perfetto, or PyTorch's fr_trace",
        "muster trace 7 -o trace.json        open it at ui.perfetto.dev\n"
        "  muster trace --last 7               a table: who is behind?\n"
        "  muster trace --format flight 7 -o dump/rank_\n\n"
        "A rank's flight recorder keeps some hundred steps of a program on libmuster's training "
        "loop.\nIt is written down when an attempt ends, also of ranks that were killed, and "
        "when this is called.\nfr_trace reads pickles; this makes them of what `flight` wrote:\n"
        "  python3 -c 'import json, pickle, sys\n"
        "  for f in sys.argv[1:]: d = json.load(open(f)); pickle.dump(d, open(f, \"wb\"))' "
        "dump/rank_*",
        &CommandLine::Trace);
    Add<NodesCommand>("nodes", "List nodes", "muster nodes", &CommandLine::Nothing);
    Add<DrainCommand>("drain", "Take a node out of use", "muster drain n3 --reason 'bad fan'",
                      &CommandLine::Drain);
    Add<ResumeCommand>("resume", "Take a drained node back into use", "muster resume n3",
                       &CommandLine::Resume);
    Add<UpCommand>("up", "Start a cluster on this host, in the background",
                   "muster up --nodes 2 --slots 8", &CommandLine::Up);
    Add<DownCommand>("down", "End a cluster that `muster up` started, and its jobs", "muster down",
                     &CommandLine::Down);
    AddStoresAndParts();
  }

  Parsed Parse(std::vector<std::string> arguments) {
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    if (dashes != arguments.end()) {
      program_.assign(dashes + 1, arguments.end());
      has_dashes_ = true;
      arguments.erase(dashes, arguments.end());
    }
    if (Parsed unknown = UnknownVerb(arguments); !unknown.text.empty()) return unknown;
    std::reverse(arguments.begin(), arguments.end());  // As CLI11 wants them.
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForAllHelp&) {
      return {{}, app_.help("", CLI::AppFormatMode::All), kExitOk};
    } catch (const CLI::CallForHelp&) {
      return {{}, Current().help(), kExitOk};
    } catch (const CLI::CallForVersion&) {
      return {{}, std::string(kVersion) + "\n", kExitOk};
    } catch (const CLI::ExtrasError& error) {
      return Mistake(UnknownWords(Current(), has_dashes_));
    } catch (const CLI::Error& error) {
      return Mistake(error.what());
    }
    if (!finish_) return {{}, app_.help(), kExitUser};
    if (const std::string mistake = finish_(); !mistake.empty()) return Mistake(mistake);
    return {command_, "", kExitOk};
  }

 private:
  void AddStoresAndParts() {
    Add<CkptCommand>("ckpt", "Look after the checkpoints in a store", kCkptExamples,
                     &CommandLine::Ckpt);
    Add<DoctorCommand>("doctor", "Check a store: its mount, speed and promises (configs/nfs.md)",
                       "muster doctor --store /mnt/ckpt --peer      on another node: --answer\n"
                       "  muster doctor --store 'nfs://10.0.0.5/export?nconnect=8'",
                       &CommandLine::Doctor);
    Add<InitCommand>("init", "Make the certificates of a cluster of several hosts",
                     "muster init --config cluster.yaml", &CommandLine::Init);
    Add<CoordinatorCommand>("coordinator", "Decide for a cluster (in the foreground)",
                            "muster coordinator --config cluster.yaml", &CommandLine::Coordinator);
    Add<AgentCommand>("agent", "Serve one node of a cluster (in the foreground)",
                      "muster agent --state DIR --node n0 --coordinator 10.0.0.1:7077",
                      &CommandLine::Agent);
    Add<KeeperCommand>("keeper", "", "", &CommandLine::Keeper)->group("");
  }
  template <typename C>
  CLI::App* Add(const char* verb, const char* what, const std::string& example,
                void (CommandLine::*bind)(CLI::App&, C&)) {
    CLI::App* sub = app_.add_subcommand(verb, what);
    auto command = std::make_shared<C>();
    verbs_.emplace_back(verb);
    if constexpr (requires { command->common; }) {
      sub->add_option("--cluster", command->common.cluster,
                      "The cluster: its state folder, or its name")
          ->type_name("DIR");
      sub->add_flag("--json", command->common.json, "Print JSON");
    }
    (this->*bind)(*sub, *command);
    sub->footer("Example:\n  " + example);
    sub->callback([this, command, sub] {
      chosen_ = sub;
      finish_ = [this, command] { return Finish(*command); };
    });
    keep_.push_back(command);
    return sub;
  }
  // Its own parser reads what follows.
  void AddForeign(const char* verb, const char* what) {
    app_.add_subcommand(verb, what);
    verbs_.emplace_back(verb);
  }
  // What is left once CLI11 is content; a text is a mistake.
  template <typename C>
  std::string Finish(C& command) {
    constexpr bool kTakesProgram = std::is_same_v<C, RunCommand> || std::is_same_v<C, ExecCommand>;
    if (has_dashes_ && !kTakesProgram) {
      return "only `muster run` and `muster exec` take a program after --";
    }
    if constexpr (std::is_same_v<C, CkptCommand>) {
      if (std::string mistake = CheckCkpt(command); !mistake.empty()) return mistake;
    }
    if constexpr (std::is_same_v<C, ExecCommand>) {
      if (program_.empty() || program_[0].empty()) {
        return "no program; put it after --, such as: muster exec 7 --rank 0 -- nvidia-smi";
      }
      command.command = program_;
    }
    if constexpr (std::is_same_v<C, RunCommand>) {
      if (program_.empty() || program_[0].empty()) {
        return "no program; put it after --, such as: muster run -N 1 -- hostname";
      }
      command.job.command = program_;
      if (std::string mistake = CheckRun(command); !mistake.empty()) return mistake;
    }
    command_ = command;
    return "";
  }

  static void AddJob(CLI::App& app, std::string& job) {
    app.add_option("JOB", job, "The job's number, or its name (the newest of that name)")
        ->required();
  }

  void Run(CLI::App& app, RunCommand& run) { AddRunOptions(app, run); }
  template <typename C>
  void File(CLI::App& app, C& command) {
    app.add_option("FILE", command.file, "The job file (configs/job.yaml has every key)")
        ->required();
  }
  template <typename C>
  void Job(CLI::App& app, C& command) {
    AddJob(app, command.job);
  }
  void Show(CLI::App& app, ShowCommand& show) {
    AddJob(app, show.job);
    app.add_flag("--bind", show.bind, "Draw which cores, GPU and NIC each rank has");
  }
  void List(CLI::App& app, ListCommand& list) {
    app.add_flag("-a,--all", list.all, "Ended jobs too");
  }
  void Logs(CLI::App& app, LogsCommand& logs) {
    AddJob(app, logs.job);
    app.add_flag("-f,--follow", logs.follow, "Go on until the job ended");
    AddShowOptions(app, logs.show, /*of_run=*/false);
    app.add_option("--attempt", logs.attempt, "Only this attempt (all)")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--tail", logs.tail_lines,
                   "Only the last lines of each rank, of the newest attempt")
        ->type_name("LINES")
        ->check(CLI::PositiveNumber);
    app.add_option_function<std::string>(
           "--since",
           [&logs](const std::string& text) {
             logs.since_ms = static_cast<std::uint64_t>(ParseDuration(text)->count());
           },
           "Begin with what was written this long ago, such as 10m")
        ->type_name("TIME")
        ->check([](const std::string& text) {
          const auto length = ParseDuration(text);
          return length.ok() ? std::string() : length.status().message();
        });
  }
  void Events(CLI::App& app, EventsCommand& events) {
    AddJob(app, events.job);
    app.add_flag("-f,--follow", events.follow, "As it is anyway: go on until the job ended");
  }
  void Cancel(CLI::App& app, CancelCommand& cancel) {
    AddJob(app, cancel.job);
    CLI::Option* now = app.add_flag("--now", cancel.now, "Without grace");
    app.add_option_function<std::string>(
           "--grace",
           [&cancel](const std::string& text) {
             cancel.grace_ms = static_cast<std::uint32_t>(ParseDuration(text)->count());
           },
           "Between asking ranks to stop and killing them (the job's own grace)")
        ->type_name("TIME")
        ->check(CheckDuration)
        ->excludes(now);
  }
  void Signal(CLI::App& app, SignalCommand& signal) {
    AddJob(app, signal.job);
    app.add_option_function<std::string>(
           "SIGNAL", [&signal](const std::string& text) { signal.signal = ParseSignal(text); },
           "Its number or name")
        ->required()
        ->check(CheckSignal);
    app.add_option("--rank", signal.rank, "Only to this rank (all)")->check(CLI::NonNegativeNumber);
  }
  void Exec(CLI::App& app, ExecCommand& exec) {
    AddJob(app, exec.job);
    app.add_option("--rank", exec.rank, "Beside which rank (0)");
  }
  void Trace(CLI::App& app, TraceCommand& trace) {
    AddJob(app, trace.job);
    app.add_option("--attempt", trace.attempt, "Of this attempt (the newest)")
        ->check(CLI::NonNegativeNumber);
    CLI::Option* format =
        app.add_option_function<std::string>(
               "--format",
               [&trace](const std::string& text) {
                 trace.format = text == "flight" ? TraceFormat::kFlight : TraceFormat::kChrome;
               },
               "chrome: Trace Event JSON, for ui.perfetto.dev and chrome://tracing; flight: what "
               "PyTorch's flight recorder writes, a JSON for each rank (chrome)")
            ->check(CLI::IsMember({"chrome", "flight"}));
    app.add_option_function<std::string>(
           "--rank", [&trace](const std::string& text) { trace.ranks = *ParseRanks(text); },
           "Only these ranks, such as 0,3-5 (all)")
        ->type_name("RANKS")
        ->check([](const std::string& text) {
          const auto ranks = ParseRanks(text);
          return ranks.ok() ? std::string() : ranks.status().message();
        });
    CLI::Option* output =
        app.add_option(
               "-o,--output", trace.output,
               "Write to this file; of `flight` to this name and the rank's number (stdout)")
            ->type_name("FILE");
    app.add_flag("--last", trace.last,
                 "Instead, a table of what each rank did last, and who is behind")
        ->excludes(format)
        ->excludes(output);
  }
  void Nothing(CLI::App&, NodesCommand&) {}
  void Drain(CLI::App& app, DrainCommand& drain) {
    app.add_option("NODE", drain.node, "The node")->required();
    app.add_option("--reason", drain.reason, "Why, for the next person")->required();
    app.add_flag("--dead", drain.dead,
                 "You vouch that nothing on it runs any more: frees the jobs that wait for it");
  }
  void Resume(CLI::App& app, ResumeCommand& resume) {
    app.add_option("NODE", resume.node, "The node")->required();
  }
  void Up(CLI::App& app, UpCommand& up) {
    app.add_option("--nodes", up.nodes, "How many nodes (1)")->check(CLI::Range(1U, 64U));
    app.add_option("--slots", up.slots, "Slots of each node (the CPUs of this host)")
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--name", up.name, "The cluster's name (local)")->check(CheckName);
  }
  void Down(CLI::App& app, DownCommand& down) {
    app.add_option("--name", down.name, "The cluster's name (the newest)")->check(CheckName);
  }
  void Ckpt(CLI::App& app, CkptCommand& ckpt) { AddCkptOptions(app, ckpt); }
  void Doctor(CLI::App& app, DoctorCommand& doctor) {
    app.add_option("--store", doctor.store, "A folder, or nfs://HOST[:PORT]/EXPORT[?nconnect=N...]")
        ->required()
        ->check(CheckStore);
    app.add_option("--size", doctor.mib, "MiB to write (64)")->check(CLI::Range(1U, 65536U));
    auto* peer = app.add_flag("--peer", doctor.peer, "Also how soon another node sees a new name");
    app.add_flag("--answer", doctor.answer, "Be that node: answer it")->excludes(peer);
  }
  void Init(CLI::App& app, InitCommand& init) {
    app.add_option("--config", init.file, "The cluster file")->required();
    app.add_option("--state", init.state, "The state folder (the file's state_dir)");
    app.add_option("--user", init.users, "A user of this host who may submit jobs; may be repeated")
        ->type_name("NAME")
        ->check(CheckName);
  }
  void Coordinator(CLI::App& app, CoordinatorCommand& coordinator) {
    app.add_option("--config", coordinator.file, "The cluster file")->required();
    app.add_option("--state", coordinator.state, "The state folder (the file's state_dir)");
    app.add_option("--keeper-fd", coordinator.keeper_fd, "")->group("");
    app.add_flag("--check", coordinator.check, "Check the file and leave");
    app.add_flag("--allow-root", coordinator.allow_root, "Take jobs of root");
  }
  void Agent(CLI::App& app, AgentCommand& agent) {
    app.add_option("--state", agent.state, "The state folder")->required();
    app.add_option("--node", agent.node, "The node's name")->required()->check(CheckName);
    app.add_option("--runtime", agent.runtime, "")->group("");
    app.add_option("--short-id", agent.short_id, "")->group("");
    app.add_option("--coordinator", agent.coordinator,
                   "HOST:PORT (what the coordinator wrote into the state folder)");
    app.add_option("--slots", agent.slots, "Slots (the GPUs of this host, or its CPUs)")
        ->check(CLI::Range(1U, 4096U));
    app.add_option("--ports", agent.ports,
                   "Where ranks may listen, for MASTER_PORT (" + ToText(PortRange{}) + ")")
        ->type_name("FIRST-LAST")
        ->check(CheckPorts);
    app.add_option("--keeper-fd", agent.keeper_fd, "")->group("");
    app.add_flag("--embedded", agent.embedded, "")->group("");
    app.add_flag("--allow-root", agent.allow_root, "Start jobs of root");
  }
  void Keeper(CLI::App& app, KeeperCommand& keeper) {
    app.add_option("--name", keeper.name, "")->required();
    app.add_option("--short-id", keeper.short_id, "")->required();
    app.add_option("--nodes", keeper.nodes, "")->required();
    app.add_option("--slots", keeper.slots, "")->required();
    app.add_option("--ready-fd", keeper.ready_fd, "")->required();
  }

  CLI::App& Current() {
    const auto chosen = app_.get_subcommands();
    return chosen.empty() ? app_ : *chosen.front();
  }
  Parsed Mistake(const std::string& what) {
    const std::string verb = &Current() == &app_ ? "" : " " + Current().get_name();
    return {
        {}, "muster" + verb + ": " + what + "\nmuster" + verb + " --help says more.\n", kExitUser};
  }
  Parsed UnknownVerb(const std::vector<std::string>& arguments) {
    if (arguments.empty() || arguments[0].rfind('-', 0) == 0) return {};
    if (std::find(verbs_.begin(), verbs_.end(), arguments[0]) != verbs_.end()) return {};
    const auto nearest = Nearest(arguments[0], verbs_);
    return {{},
            "muster: unknown command '" + arguments[0] + "'" +
                (nearest ? "; did you mean '" + *nearest + "'?" : "") +
                "\nmuster --help lists the commands.\n",
            kExitUser};
  }

  CLI::App app_;
  CLI::App* chosen_ = nullptr;
  std::vector<std::string> verbs_;
  std::vector<std::string> program_;  // After --.
  bool has_dashes_ = false;
  std::function<std::string()> finish_;
  std::optional<Command> command_;
  std::vector<std::shared_ptr<void>> keep_;  // What the options are bound to.
};

}  // namespace

Parsed ParseCommandLine(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& environment) {
  const std::string verb = arguments.empty() ? "" : arguments[0];
  if (verb == "torchrun") {
    return ParseTorchrunLine({arguments.begin() + 1, arguments.end()}, environment);
  }
  if (verb == "mpirun") return ParseMpirunLine({arguments.begin() + 1, arguments.end()});
  return CommandLine().Parse(arguments);
}

}  // namespace muster
