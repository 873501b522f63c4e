#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "launcher/cli/caller_posix.h"
#include "launcher/cli/cli_posix.h"
#include "launcher/cli/embedded_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/render.h"
#include "launcher/cli/terminal_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/inbox_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr Duration kStartPatience = std::chrono::seconds(30);
constexpr Duration kStopPatience = std::chrono::seconds(60);
constexpr std::size_t kKeptPrivateLogs = 5;
constexpr char kReady[] = "ready\n";

std::string Summary(const std::string& state, const ClusterDescription& cluster) {
  return "cluster '" + cluster.name + "': " + std::to_string(cluster.nodes) + " nodes with " +
         std::to_string(cluster.slots) + " slots each, state in " + state + "\n";
}

// Starts the keeper in the background and hears how it went: kReady, or what failed.
Result<std::string> StartKeeper(const KeeperCommand& keeper) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus("pipe", errno);
  const UniqueFd hear(ends[0]);
  UniqueFd say(ends[1]);
  std::vector<std::string> arguments = {"muster",     "keeper",
                                        "--name",     keeper.name,
                                        "--short-id", keeper.short_id,
                                        "--nodes",    std::to_string(keeper.nodes),
                                        "--slots",    std::to_string(keeper.slots),
                                        "--ready-fd", "3"};
  std::vector<std::string> environment = Environment();
  std::erase_if(environment, [](const std::string& entry) {
    return entry.rfind("MUSTER_CLUSTER_COOKIE=", 0) == 0;
  });
  environment.push_back("MUSTER_CLUSTER_COOKIE=" + keeper.short_id);
  std::vector<char*> argv, envp;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  for (std::string& entry : environment) envp.push_back(entry.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSID));
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, say.get(), 3);
  posix_spawn_file_actions_addclosefrom_np(&actions, 4);
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus("starting the keeper", error);
  say.Reset();
  std::string answer;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t n = read(hear.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return answer;
    answer.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

// Until every node is up, or the keeper's parts fail.
Status AwaitNodes(const ClientConfig& config, std::uint32_t nodes, int abort_fd) {
  ClusterClient client(config);
  const TimePoint deadline = RealClock().Now() + kStartPatience;
  for (;;) {
    const auto info = client.Info();
    if (info.ok() && info->nodes_up >= nodes) return {};
    if (!info.ok() && info.status().code() != Code::kUnavailable) return info.status();
    if (RealClock().Now() > deadline) {
      return Status(Code::kDeadline, "not every node came up within 30 s");
    }
    pollfd wait = {.fd = abort_fd, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 5) > 0) return Status(Code::kAborted, "waiting for the nodes");
  }
}

// Every job that still runs is cancelled and waited for.
void EndJobs(const std::string& state, bool quiet) {
  auto config = ClientConfigOf(state);
  if (!config.ok()) return;
  config->patience = std::chrono::seconds(3);
  ClusterClient client(*std::move(config));
  const auto jobs = client.List(/*ended_too=*/false);
  if (!jobs.ok()) return;
  if (!jobs->empty() && !quiet) {
    Complain("muster: ending " + std::to_string(jobs->size()) + " jobs\n");
  }
  std::vector<std::unique_ptr<ClientStream>> watches;
  for (const JobView& job : *jobs) {
    if (!client.Cancel(job.id).ok()) continue;
    watches.push_back(client.Watch(
        job.id, [](const WatchNews&) {}, [](const Status&) {}));
  }
  for (const auto& watch : watches) {
    if (!watch->Wait().ok()) return;
  }
}

Result<FoundCluster> WhichToEnd(const std::string& name) {
  std::vector<FoundCluster> all = FindClusters(/*private_too=*/false);
  std::vector<std::string> alive;
  for (const FoundCluster& found : all) {
    if (found.alive) alive.push_back(found.cluster.name);
  }
  for (FoundCluster& found : all) {
    if (name.empty() ? found.alive && alive.size() == 1 : found.cluster.name == name) {
      return std::move(found);
    }
  }
  if (!name.empty()) return Status(Code::kNotFound, "there is no cluster '" + name + "'");
  if (alive.empty()) return Status(Code::kNotFound, "no cluster is up");
  return Status(Code::kInvalid,
                "several clusters are up (" + Join(alive, ", ") + "); say which with --name");
}

// Asks the keeper to end and waits until nobody lives in the cluster any more.
Status EndKeeper(const FoundCluster& found) {
  const UniqueFd keeper(static_cast<int>(syscall(SYS_pidfd_open, found.cluster.keeper_pid, 0)));
  const bool same = ProcessStart(found.cluster.keeper_pid) == found.cluster.keeper_start;
  if (keeper.valid() && same) {
    syscall(SYS_pidfd_send_signal, keeper.get(), SIGTERM, nullptr, 0);
    pollfd wait = {.fd = keeper.get(), .events = POLLIN, .revents = 0};
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(2 * kStopPatience);
    if (poll(&wait, 1, static_cast<int>(patience.count())) == 0) {
      return Status(Code::kDeadline, "the keeper does not end");
    }
  }
  auto lock = LockCluster(found.state, /*alone=*/true);
  if (!lock.ok()) return Status(Code::kUnavailable, "its parts are still ending; try again");
  if (LeaveCluster(*std::move(lock), found.state, found.cluster, /*keep_logs=*/true)) return {};
  return Status(Code::kUnavailable, "it has ended, but something of it stays in " +
                                        found.cluster.runtime + " or in /dev/shm/muster-" +
                                        found.cluster.short_id + "-*; `muster down --name " +
                                        found.cluster.name + "` tries again");
}

Status ServeUntilTold(const KeeperCommand& command, Embedded& embedded, int signals) {
  Inbox<Status> failures;
  Keeper keeper({.parts = PartsOf(embedded.state, embedded.cluster),
                 .cookie = embedded.cluster.short_id,
                 .failed = [&](const Status& why) { failures.Push(why); }});
  RETURN_IF_ERROR(keeper.Start());
  Status ready = AwaitEndpoint(embedded.state, kStartPatience, {failures.fd(), signals});
  auto config = ClientConfigOf(embedded.state);
  if (ready.ok() && config.ok()) ready = AwaitNodes(*config, command.nodes, failures.fd());
  for (Status& failure : failures.Take()) ready = std::move(failure);
  if (ready.ok()) {
    RETURN_IF_ERROR(WriteAll(command.ready_fd, kReady, sizeof kReady - 1));
    close(command.ready_fd);
    std::array<pollfd, 2> waits = {{{.fd = signals, .events = POLLIN, .revents = 0},
                                    {.fd = failures.fd(), .events = POLLIN, .revents = 0}}};
    while (poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
    }
  }
  keeper.Stop(kStopPatience);
  return ready;
}

}  // namespace

int CarryOutUp(const UpCommand& up) {
  const bool json = up.common.json;
  if (IsPrivateName(up.name)) {
    return Fail(Status(Code::kInvalid, "names that begin with run- are those of private clusters"),
                json);
  }
  const auto root = StateRoot();
  if (!root.ok()) return Fail(root.status(), json);
  const std::string state = *root + "/" + up.name;
  KeeperCommand keeper = {.name = up.name,
                          .short_id = NewShortId(),
                          .nodes = up.nodes,
                          .slots = up.slots != 0 ? up.slots : HostCpus()};
  if (const auto former = LoadCluster(state); former.ok()) {
    const ClusterDescription& there = former->cluster;
    if (former->alive) {
      const bool same = there.nodes == keeper.nodes && there.slots == keeper.slots;
      Print(json ? ClusterJson(state, there, true) : "already up: " + Summary(state, there));
      if (same) return kExitOk;
      Complain("muster: it has another shape; `muster down` first, or give --name\n");
      return kExitUser;
    }
    keeper.short_id = there.short_id;
  }
  SweepStale(kKeptPrivateLogs);
  const auto answer = StartKeeper(keeper);
  if (!answer.ok()) return Fail(answer.status(), json);
  if (*answer != kReady) {
    const std::string why = answer->empty() ? "the keeper died; see " + state : *answer;
    return Fail(Status(Code::kInvalid, why), json);
  }
  const auto found = LoadCluster(state);
  if (!found.ok()) return Fail(found.status(), json);
  Print(json ? ClusterJson(state, found->cluster, true)
             : "up: " + Summary(state, found->cluster) +
                   "Now `muster run -- PROGRAM` goes there; `muster down` ends it.\n");
  return kExitOk;
}

int CarryOutDown(const DownCommand& down) {
  const auto found = WhichToEnd(down.name);
  if (!found.ok()) return Fail(found.status(), down.common.json);
  if (found->alive) EndJobs(found->state, down.common.json);
  const Status ended = EndKeeper(*found);
  if (!ended.ok()) return Fail(ended, down.common.json);
  Print(down.common.json ? ClusterJson(found->state, found->cluster, false)
                         : "down: " + Summary(found->state, found->cluster));
  return kExitOk;
}

int CarryOutKeeper(const KeeperCommand& command) {
  sigset_t ours;
  sigemptyset(&ours);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ours, number);
  pthread_sigmask(SIG_BLOCK, &ours, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const UniqueFd signals(signalfd(-1, &ours, SFD_CLOEXEC));
  auto embedded = MakeEmbedded({.name = command.name,
                                .short_id = command.short_id,
                                .nodes = command.nodes,
                                .slots = command.slots});
  Status served = embedded.ok() ? Status() : embedded.status();
  if (embedded.ok()) {
    const UniqueFd log(open((embedded->state + "/keeper.log").c_str(),
                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (log.valid()) dup2(log.get(), STDERR_FILENO);
    served = ServeUntilTold(command, *embedded, signals.get());
    LeaveCluster(std::move(embedded->lock), embedded->state, embedded->cluster, true);
  }
  if (served.ok()) return kExitOk;
  // `up` still listens, unless it was told that all is well.
  Log(LogLevel::kError, served.message());
  WriteOut(command.ready_fd, served.message()).ok();
  return ExitStatusOf(served.code());
}

}  // namespace muster
