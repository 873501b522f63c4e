#include "launcher/jobd/node_scripts_posix.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>

#include "launcher/jobd/local_ranks_posix.h"
#include "launcher/jobd/rank_environment.h"
#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/paths.h"

namespace muster {
namespace {}  // namespace

NodeScript ScriptOf(const StartAttempt& order, const std::string& name, const std::string& text,
                    const std::string& logs) {
  const std::uint32_t first = order.hosts[order.host_index].first_rank;
  return {.name = name,
          .text = text,
          .environment = NodeEnvironment(order),
          .program = order.program,
          .log = LogsOfJob(logs, order.job) + "/" + std::to_string(order.attempt) + "/" +
                 std::to_string(first) + "." + name};
}

Cause NodeScripts::Start(NodeScript script) {
  CHECK(!running());
  script_ = std::move(script);
  const UniqueFd log(open(script_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  Spawn spawn{.paths = {"/bin/sh"},
              .argv = {"/bin/sh", "-c", script_.text},
              .environment = script_.environment,
              .workdir = script_.program.workdir,
              .umask = script_.program.umask,
              .limits = script_.program.limits,
              .out = log.get(),
              .err = log.get()};
  const Result<pid_t> pid =
      log.valid() ? muster::Start(spawn) : ErrnoStatus("open " + script_.log, errno);
  if (pid.ok()) pid_ = *pid;
  if (pid.ok()) return {};
  return {.kind = CauseKind::kLaunch,
          .node = node_,
          .text = "the " + script_.name + " on node " + node_ +
                  " could not be started: " + pid.status().message()};
}

std::optional<NodeScripts::End> NodeScripts::Reaped(pid_t pid, int wait_status) {
  if (pid != pid_ || pid_ == 0) return std::nullopt;
  pid_ = 0;
  End end{.name = script_.name};
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return end;
  const std::string how = WIFEXITED(wait_status)
                              ? "left with exit code " + std::to_string(WEXITSTATUS(wait_status))
                              : "was killed by signal " + std::to_string(WTERMSIG(wait_status));
  const std::string said = LastWordsIn(script_.log);
  end.cause = {.kind = CauseKind::kLaunch,
               .node = node_,
               .text = "the " + script_.name + " on node " + node_ + " " + how +
                       (said.empty() ? "" : ": " + said)};
  return end;
}

void NodeScripts::Kill() {
  if (running()) kill(-pid_, SIGKILL);
}

}  // namespace muster
