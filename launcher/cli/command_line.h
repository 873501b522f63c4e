// What the user typed, as checked values.
//
// ParseCommandLine is pure: it reads no environment and no file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "launcher/cli/ckpt_options.h"
#include "launcher/cli/common_options.h"
#include "launcher/cli/job_file.h"
#include "launcher/cli/shape.h"
#include "launcher/cli/show_options.h"

namespace muster {

// What a node's every slot is, for a run that makes the nodes itself.
enum class SlotFill : std::uint8_t { kNone, kCpus, kGpus, kGpusOrCpus };

// Whether rank 0 reads the caller's stdin.
enum class RunInput : std::uint8_t { kAuto, kRank0, kNone };

struct RunCommand {
  Common common;
  JobFile job;
  ShowOptions show;
  std::uint32_t slots = 0;  // Of each node of a private cluster; 0: as many as ranks per node.
  bool detach = false;
  RunInput input = RunInput::kAuto;
  // Of other launchers' command lines.
  std::optional<ShapeWish> wish;           // Becomes job.nodes and ranks_per_node.
  SlotFill fill = SlotFill::kNone;         // Slots of a private cluster's nodes, unless `slots`.
  std::vector<std::uint32_t> local_ranks;  // Only these are streamed; empty: all.
  bool python = false;                     // job.command[0] gives way to $PYTHON_EXEC.
};
struct SubmitCommand {
  Common common;
  std::string file;
};
struct PlanCommand {
  Common common;
  std::string file;
};
struct ListCommand {
  Common common;
  bool all = false;  // Ended jobs too.
};
struct ShowCommand {
  Common common;
  std::string job;
  bool bind = false;  // Who sits where, and nothing else.
};
struct WhyCommand {
  Common common;
  std::string job;
};
struct WaitCommand {
  Common common;
  std::string job;
};
struct LogsCommand {
  Common common;
  std::string job;
  ShowOptions show;
  std::int64_t attempt = -1;     // -1: all, in order; with tail_lines the newest.
  std::uint64_t tail_lines = 0;  // 0: all.
  std::uint64_t since_ms = 0;    // How long ago; 0: all.
  bool follow = false;
};
struct EventsCommand {
  Common common;
  std::string job;
  bool follow = false;  // It always does: a job's story ends with the job.
};
struct CancelCommand {
  Common common;
  std::string job;
  bool now = false;
  std::optional<std::uint32_t> grace_ms;  // Instead of the job's own.
};
struct SignalCommand {
  Common common;
  std::string job;
  std::int32_t signal = 0;
  std::int64_t rank = -1;  // -1: all.
};
struct ExecCommand {
  Common common;
  std::string job;
  std::uint32_t rank = 0;
  std::vector<std::string> command;
};
enum class TraceFormat : std::uint8_t { kChrome, kFlight };
struct TraceCommand {
  Common common;
  std::string job;
  std::int64_t attempt = -1;  // -1: the newest.
  TraceFormat format = TraceFormat::kChrome;
  std::vector<std::uint32_t> ranks;  // Empty: all.
  std::string output;                // Empty: stdout; of kFlight what rank numbers are put behind.
  bool last = false;                 // Instead: a table of what each rank did last.
};
struct NodesCommand {
  Common common;
};
struct DrainCommand {
  Common common;
  std::string node, reason;
  bool dead = false;
};
struct ResumeCommand {
  Common common;
  std::string node;
};
struct UpCommand {
  Common common;  // `cluster` is not used.
  std::string name = "local";
  std::uint32_t nodes = 1;
  std::uint32_t slots = 0;  // 0: as many as this host has CPUs.
};
struct DownCommand {
  Common common;
  std::string name;  // Empty: the newest, when it is the only one.
};
// Looks at a store before a job needs it.
struct DoctorCommand {
  Common common;  // `cluster` is not used.
  std::string store;
  std::uint64_t mib = 64;  // Of the file that is written.
  bool peer = false;       // Another node answers...
  bool answer = false;     // ...which is what this one shall do, and nothing else.
};
// Makes the certificates of a real cluster.
struct InitCommand {
  Common common;     // `cluster` is not used.
  std::string file;  // The cluster file.
  std::string state;
  std::vector<std::string> users;  // Who get a certificate, beside the caller.
};
// The parts of a cluster.
struct CoordinatorCommand {
  std::string file;   // The cluster file.
  std::string state;  // Beats the file's state_dir.
  std::int32_t keeper_fd = -1;
  bool check = false;
  bool allow_root = false;
};
struct AgentCommand {
  std::string state, node;
  std::string runtime, short_id;  // Of an embedded cluster.
  std::string coordinator;        // Empty: what it wrote into the state folder.
  std::uint32_t slots = 0;        // 0: as many as this host has GPUs, without them CPUs.
  std::string ports;              // Where ranks may listen; empty: as PortRange says.
  std::int32_t keeper_fd = -1;
  bool embedded = false;
  bool allow_root = false;
};
// How `muster up` goes on in the background.
struct KeeperCommand {
  std::string name, short_id;
  std::uint32_t nodes = 1, slots = 1;
  std::int32_t ready_fd = -1;
};

using Command = std::variant<RunCommand, SubmitCommand, PlanCommand, ListCommand, ShowCommand,
                             WhyCommand, WaitCommand, LogsCommand, EventsCommand, CancelCommand,
                             SignalCommand, ExecCommand, TraceCommand, NodesCommand, DrainCommand,
                             ResumeCommand, UpCommand, DownCommand, CkptCommand, DoctorCommand,
                             InitCommand, CoordinatorCommand, AgentCommand, KeeperCommand>;

// Either a command, or a text to print and the status to leave with (help: 0, a mistake: 2).
struct Parsed {
  std::optional<Command> command;
  std::string text;
  int exit = 0;
  std::vector<std::string> notes;  // To tell on stderr before the command is carried out.
};

// `arguments`: without the program's own name.  `environment`: what torchrun's flags default to.
Parsed ParseCommandLine(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& environment = {});

}  // namespace muster
