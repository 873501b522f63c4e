#include "launcher/jobd/local_ranks_posix.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "launcher/jobd/machine_posix.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kTailLines = 20;
constexpr std::size_t kTailBytes = 4096;
// A user without rights may have 64 MiB in pipes: that is enough for 200 ranks a host.
constexpr int kOutPipeBytes = 256 << 10, kErrPipeBytes = 64 << 10;
constexpr Duration kLogPatience = std::chrono::milliseconds(500);

bool IsFolder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string Quoted(const std::string& text) {
  return "'" + text + "'";
}

Cause CheckProgram(const Program& program, const NodeName& node) {
  if (program.argv.empty()) {
    return {.kind = CauseKind::kLaunch, .node = node, .text = "the job has no command"};
  }
  const std::string& name = program.argv[0];
  const bool searched = name.find('/') == std::string::npos;
  std::string refused, why;
  for (const std::string& path : ProgramPaths(name, program.workdir, program.environment)) {
    if (access(path.c_str(), F_OK) != 0) {
      if (searched || errno != EACCES) continue;
      why = "a folder on the way to it cannot be entered";
    } else if (IsFolder(path)) {
      why = "it is a folder";
    } else if (access(path.c_str(), X_OK) != 0) {
      why = "it has no execute permission";
    } else {
      return {};
    }
    refused = path;
  }
  if (!refused.empty()) {
    return {.kind = CauseKind::kNotExecutable,
            .node = node,
            .code = 126,
            .text = Quoted(refused) + " on node " + node + " cannot be run: " + why};
  }
  return {.kind = CauseKind::kNotFound,
          .node = node,
          .code = 127,
          .text = "program " + Quoted(name) + " was not found on node " + node +
                  (searched ? " in any folder of the job's PATH" : "") +
                  "; it must be there under the same name on every node"};
}

Cause LaunchCause(const NodeName& node, const std::string& text) {
  return {.kind = CauseKind::kLaunch, .node = node, .text = "node " + node + ": " + text};
}

LogTarget Target(const std::string& logs, AttemptNumber attempt, const NodeName& node,
                 std::uint32_t rank, bool is_stderr) {
  return {.path = LogFile(logs, attempt, rank, is_stderr),
          .times_path = LogTimesFile(logs, attempt, node, rank, is_stderr),
          .name = "rank " + std::to_string(rank) + (is_stderr ? "'s stderr" : "'s stdout")};
}

}  // namespace

LocalRanks::LocalRanks(NodeName node, std::string logs, std::string group)
    : node_(std::move(node)), logs_(std::move(logs)), group_(std::move(group)) {}

LocalRanks::~LocalRanks() {
  Kill();
}

void LocalRanks::MakeRanksGroup(AttemptNumber attempt) {
  if (group_.empty()) return;
  const std::string name = "ranks-" + std::to_string(attempt);
  if (Status made = MakeSubgroup(group_, name); made.ok()) {
    groups_.push_back(group_ + "/" + name);
  } else {
    Log(LogLevel::kWarning, "no group for the ranks, descent must do: " + made.message());
  }
}

Cause LocalRanks::Prepare(const StartAttempt& order) {
  Forget();
  MakeRanksGroup(order.attempt);
  program_ = order.program.argv.empty() ? "" : order.program.argv[0];
  workdir_ = order.program.workdir;
  if (!workdir_.empty() && access((workdir_ + "/.").c_str(), X_OK) != 0) {
    return LaunchCause(node_, "the working directory " + Quoted(workdir_) +
                                  " cannot be entered: " + std::strerror(errno) +
                                  "; it must exist on every node, or be set with workdir");
  }
  if (Cause cause = CheckProgram(order.program, node_); cause.kind != CauseKind::kNone) {
    return cause;
  }
  const std::string logs = LogsOfJob(logs_, order.job);
  const Host& host = order.hosts[order.host_index];
  for (std::uint32_t local = 0; local < host.slots.size(); ++local) {
    const std::uint32_t number = host.first_rank + local;
    Rank rank{.record = {.rank = number}};
    const LogTarget err_log = Target(logs, order.attempt, node_, number, /*is_stderr=*/true);
    rank.err_path = err_log.path;
    Result<UniqueFd> out =
        drain_.Add(Target(logs, order.attempt, node_, number, /*is_stderr=*/false), kOutPipeBytes);
    Result<UniqueFd> err = drain_.Add(err_log, kErrPipeBytes);
    if (!out.ok()) return LaunchCause(node_, out.status().message());
    if (!err.ok()) return LaunchCause(node_, err.status().message());
    rank.out = *std::move(out);
    rank.err = *std::move(err);
    ranks_.emplace(local, std::move(rank));
  }
  return {};
}

std::vector<LocalRanks::Exit> LocalRanks::Fork(
    const StartAttempt& order, const std::vector<std::vector<std::string>>& environments,
    const std::vector<UniqueFd>& links, const std::vector<std::vector<std::uint32_t>>& cpus) {
  std::vector<Exit> unborn;
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  reports_.Reset(ends[0]);
  const UniqueFd report(ends[1]);
  drained_ = false;
  oom_kills_ = OutOfMemoryKills();
  Spawn spawn{.argv = order.program.argv,
              .workdir = order.program.workdir,
              .umask = order.program.umask,
              .limits = order.program.limits,
              .group = groups_.empty() ? "" : groups_.back(),
              .report = report.get()};
  for (auto& [local, rank] : ranks_) {
    spawn.environment = environments[local];
    spawn.cpus = cpus.empty() ? std::vector<std::uint32_t>() : cpus[local];
    spawn.paths = ProgramPaths(program_, workdir_, spawn.environment);
    spawn.out = rank.out.get();
    spawn.err = rank.err.get();
    spawn.inherited = links[local].get();
    spawn.tag = local;
    const Result<pid_t> pid = Start(spawn);
    rank.out.Reset();
    rank.err.Reset();
    if (!pid.ok()) {
      rank.record.exited = true;
      unborn.push_back({local, LaunchCause(node_, pid.status().message())});
      continue;
    }
    rank.record.pid = *pid;
  }
  for (auto& [local, rank] : ranks_) rank.record.start = StartTicks(rank.record.pid);
  return unborn;
}

void LocalRanks::Signal(int number) {
  for (const auto& [local, rank] : ranks_) SignalOne(local, number);
}

void LocalRanks::SignalOne(std::uint32_t local_rank, int number) {
  const pid_t pid = PidOf(local_rank);
  if (pid > 0) kill(-pid, number);
}

void LocalRanks::Kill() {
  killed_ = true;
  for (const std::string& group : groups_) KillGroup(group);
  Signal(SIGKILL);
}

pid_t LocalRanks::PidOf(std::uint32_t local_rank) const {
  const auto found = ranks_.find(local_rank);
  return found == ranks_.end() || found->second.record.exited ? 0 : found->second.record.pid;
}

std::optional<LocalRanks::Exit> LocalRanks::Reaped(pid_t pid, int wait_status) {
  for (auto& [local, rank] : ranks_) {
    if (rank.record.exited || rank.record.pid != pid) continue;
    rank.record.exited = true;
    rank.record.wait_status = wait_status;
    ReadReports();
    // Whoever hears that all have ended may read the logs to their ends.
    if (alive() == 0) drain_.Settle(kLogPatience);
    return Exit{local, CauseOf(rank, local)};
  }
  return std::nullopt;
}

void LocalRanks::ReadReports() {
  ExecFailure failure;
  while (read(reports_.get(), &failure, sizeof failure) == sizeof failure) {
    failures_[failure.tag] = failure;
  }
}

Cause LocalRanks::CauseOf(const Rank& rank, std::uint32_t local_rank) {
  const int status = rank.record.wait_status;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  Cause cause;
  const auto failed = failures_.find(local_rank);
  if (failed != failures_.end()) {
    cause = ExecCause(failed->second);
  } else if (WIFEXITED(status)) {
    cause = {.kind = CauseKind::kExit, .code = WEXITSTATUS(status)};
  } else {
    cause = {.kind = CauseKind::kSignal, .code = WTERMSIG(status)};
  }
  if (cause.code == SIGKILL && cause.kind == CauseKind::kSignal && !killed_) {
    const std::uint64_t kills = OutOfMemoryKills();
    if (kills > oom_kills_) cause.kind = CauseKind::kOutOfMemory;
    oom_kills_ = kills;
  }
  // What our own kill cut short has nothing to say.
  if (cause.text.empty() && !killed_) {
    drain_.Settle(kLogPatience);
    cause.text = LastLines(rank.err_path, kTailLines);
  }
  cause.rank = static_cast<std::int32_t>(rank.record.rank);
  cause.node = node_;
  return cause;
}

Cause LocalRanks::ExecCause(const ExecFailure& failure) const {
  const std::string error = std::strerror(failure.error);
  switch (failure.stage) {
    case ExecStage::kGroup:
      return LaunchCause(node_, "a rank could not join its group: " + error);
    case ExecStage::kBind:
      return LaunchCause(node_, "a rank could not be tied to its cores: " + error);
    case ExecStage::kLimit:
      return LaunchCause(node_, "a resource limit of the job could not be set: " + error);
    case ExecStage::kWorkdir:
      return LaunchCause(node_,
                         "cannot enter the working directory " + Quoted(workdir_) + ": " + error);
    case ExecStage::kExec:
      break;
  }
  const bool missing = failure.error == ENOENT;
  std::string text = "program " + Quoted(program_) + " on node " + node_ + ": " + error;
  if (missing) text += " (or the interpreter that it names is not there)";
  return {.kind = missing ? CauseKind::kNotFound : CauseKind::kNotExecutable,
          .code = missing ? 127 : 126,
          .text = std::move(text)};
}

std::size_t LocalRanks::alive() const {
  return static_cast<std::size_t>(std::count_if(ranks_.begin(), ranks_.end(), [](const auto& item) {
    return item.second.record.pid > 0 && !item.second.record.exited;
  }));
}

bool LocalRanks::Gone(const std::set<pid_t>& ours) {
  if (alive() > 0 || !EndAllBut(ours)) return false;
  if (!std::exchange(drained_, true)) drain_.Forget(kLogPatience);
  return true;
}

bool LocalRanks::EndAllBut(const std::set<pid_t>& ours) {
  bool gone = true;
  if (!groups_.empty()) {
    for (const std::string& group : groups_) {
      if (!GroupPopulated(group)) continue;
      gone = false;
      KillGroup(group);
    }
    return gone;
  }
  for (const pid_t pid : Descendants(getpid())) {
    if (ours.contains(pid)) continue;
    gone = false;
    kill(pid, SIGKILL);
  }
  return gone;
}

std::vector<RankRecord> LocalRanks::Records() const {
  std::vector<RankRecord> records;
  for (const auto& [local, rank] : ranks_) records.push_back(rank.record);
  return records;
}

void LocalRanks::Forget() {
  CHECK(alive() == 0);
  RemoveGroups();
  if (!ranks_.empty()) drain_.Forget(kLogPatience);
  drained_ = true;
  ranks_.clear();
  failures_.clear();
  reports_.Reset();
  killed_ = false;
}

void LocalRanks::RemoveGroups() {
  std::erase_if(groups_, [](const std::string& group) {
    return !GroupPopulated(group) && RemoveGroup(group).ok();
  });
}

std::string LastLines(const std::string& path, std::size_t lines) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return "";
  const off_t begin = std::max<off_t>(0, info.st_size - static_cast<off_t>(kTailBytes));
  std::string text(kTailBytes, '\0');
  const ssize_t n = pread(fd.get(), text.data(), text.size(), begin);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::size_t at = text.size();
  for (std::size_t i = 0; i < lines && at != std::string::npos && at > 0; ++i) {
    at = text.rfind('\n', at - 1);
  }
  if (at != std::string::npos && at > 0) return text.substr(at + 1);
  // The first of them may have been cut.
  const std::size_t whole = begin > 0 ? text.find('\n') : std::string::npos;
  return whole == std::string::npos ? text : text.substr(whole + 1);
}

}  // namespace muster
