// The one program: whatever `muster` is, it is called here.
//
// The composition root: the only file that knows every part.  The verbs that job daemons are
// started by come first and touch nothing else.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "launcher/agent/agent_posix.h"
#include "launcher/agent/node_posix.h"
#include "launcher/cli/cli_posix.h"
#include "launcher/cli/cluster_file.h"
#include "launcher/cli/embedded_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/terminal_posix.h"
#include "launcher/coordinator/coordinator_main.h"
#include "launcher/jobd/jobd_main_event.h"
#include "launcher/jobd/pmix_main_pmix.h"
#include "launcher/mover/mover_main_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr int kMoverFd = 3;

int Refuse(const Status& why) {
  Log(LogLevel::kError, why.message());
  return ExitStatusOf(why.code());
}

Result<CoordinatorConfig> ConfigOf(const CoordinatorCommand& command) {
  const auto text = ReadFile(command.file);
  if (!text.ok()) return Status(Code::kInvalid, text.status().message());
  const auto file = ParseClusterFile(command.file, *text);
  if (!file.ok()) return file.status();
  CoordinatorConfig config;
  config.cluster = file->name;
  config.listen = file->listen;
  auto state = StateFolder(command.state, file->state_dir, file->name);
  if (!state.ok()) return std::move(state).status();
  config.state_dir = *std::move(state);
  for (const NodeEntry& node : file->nodes) {
    NodeRegistered registered = {.name = node.name,
                                 .block = node.block,
                                 .leaf = node.leaf,
                                 .spine = node.spine,
                                 .slots = node.slots};
    if (!node.address.empty()) registered.addresses = {node.address};
    config.nodes.push_back(std::move(registered));
  }
  for (const ShareEntry& share : file->shares) {
    config.shares.push_back({.path = share.path, .bytes_per_s = share.bytes_per_s});
  }
  config.allow_root = command.allow_root;
  config.keeper_fd = command.keeper_fd;
  return config;
}

// Runs `part` as an inhabitant of the cluster in `state`.  When its keeper is dead, the last one
// out cleans up; without a keeper, such as on a real cluster, job daemons may live on.
template <typename Part>
[[noreturn]] void LiveIn(const std::string& state, bool kept, Part part) {
  umask(077);
  auto lock = LockCluster(state, /*alone=*/false);
  if (!lock.ok()) _exit(Refuse(lock.status()));
  const int exit = part();
  const auto found = LoadCluster(state);
  if (kept && found.ok() && !found->alive) {
    LeaveCluster(*std::move(lock), state, found->cluster, /*keep_logs=*/false);
  }
  _exit(exit);  // What gRPC would tidy up now takes tens of milliseconds, and the kernel none.
}

int StartCoordinator(const CoordinatorCommand& command) {
  SetLogProcess("coordinator");
  const auto config = ConfigOf(command);
  if (!config.ok()) return Refuse(config.status());
  if (command.check) {
    Print(command.file + ": " + std::to_string(config->nodes.size()) + " nodes, listens on " +
          config->listen + ", state in " + config->state_dir + "\n");
    return kExitOk;
  }
  const Status made = MakeOwnFolder(config->state_dir);
  if (!made.ok()) return Refuse(made);
  LiveIn(config->state_dir, command.keeper_fd >= 0, [&] { return CoordinatorMain(*config); });
}

int StartAgent(const AgentCommand& command) {
  SetLogProcess("agent " + command.node);
  const Status made = MakeOwnFolder(command.state);
  if (!made.ok()) return Refuse(made);
  const auto cluster = DescribeNode(command.state);
  if (!cluster.ok()) return Refuse(cluster.status());
  AgentConfig config;
  config.host.paths = PathsOf(command.state, *cluster);
  config.host.node = command.node;
  config.host.allow_root = command.allow_root;
  config.host.slots = command.slots != 0 ? command.slots : GpuCount() > 0 ? GpuCount() : CpuCount();
  if (!command.ports.empty()) config.host.ports = *ParsePortRange(command.ports);
  config.address = command.coordinator;
  if (command.coordinator.empty()) config.address_file = AddressFile(command.state);
  config.embedded = command.embedded;
  config.keeper_fd = command.keeper_fd;
  const Status fits = CheckSocketPaths(config.host.paths, command.node);
  if (!fits.ok()) return Refuse(fits);
  LiveIn(command.state, command.keeper_fd >= 0, [&] { return AgentMain(std::move(config)); });
}

int Main(const std::vector<std::string>& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments[0];
  if (verb == "jobd") return JobdMain({arguments.begin() + 1, arguments.end()});
  if (verb == "pmix") return PmixMain({arguments.begin() + 1, arguments.end()});
  if (verb == "mover") return MoverMain(kMoverFd);
  const Parsed parsed = ParseCommandLine(arguments, Environment());
  if (!parsed.command) {
    (parsed.exit == kExitOk ? Print : Complain)(parsed.text);
    return parsed.exit;
  }
  for (const std::string& note : parsed.notes) Complain("muster " + verb + ": " + note + "\n");
  if (const auto* coordinator = std::get_if<CoordinatorCommand>(&*parsed.command)) {
    return StartCoordinator(*coordinator);
  }
  if (const auto* agent = std::get_if<AgentCommand>(&*parsed.command)) return StartAgent(*agent);
  return CarryOut(*parsed.command);
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main({argv + 1, argv + argc});
}
