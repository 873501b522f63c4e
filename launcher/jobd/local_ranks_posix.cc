#include "launcher/jobd/local_ranks_posix.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "launcher/jobd/last_words.h"
#include "launcher/jobd/limits_posix.h"
#include "launcher/jobd/machine_posix.h"
#include "launcher/jobd/program_posix.h"
#include "launcher/jobd/rank_environment.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// A user without rights may have 64 MiB in pipes: that is enough for 200 ranks a host.
constexpr int kOutPipeBytes = 256 << 10, kErrPipeBytes = 64 << 10;
constexpr Duration kLogPatience = std::chrono::milliseconds(500);
// At the end, for a disk that hangs: jobd's loop goes on between two looks, a millisecond apart.
constexpr Duration kLogLook = std::chrono::milliseconds(1);
constexpr int kLogLooks = 5000;

Cause LaunchCause(const NodeName& node, const std::string& text) {
  return {.kind = CauseKind::kLaunch, .node = node, .text = "node " + node + ": " + text};
}

LogTarget Target(const std::string& logs, AttemptNumber attempt, const NodeName& node,
                 std::uint32_t rank, bool is_stderr) {
  return {.path = LogFile(logs, attempt, rank, is_stderr),
          .times_path = LogTimesFile(logs, attempt, node, rank, is_stderr),
          .name = "rank " + std::to_string(rank) + (is_stderr ? "'s stderr" : "'s stdout"),
          .keep_end = is_stderr};
}

Result<RankInput> MakeInput(const LaunchOptions& launch) {
  return launch.pty ? RankInput::MakeTerminal(launch.rows, launch.columns) : RankInput::MakePipe();
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
  umask_ = order.program.umask;
  limits_ = order.program.limits;
  for (const std::string& cut : LimitsCut(limits_, node_)) {
    if (told_.insert(cut).second) drain_.news().Push(cut);
  }
  if (!workdir_.empty() && access((workdir_ + "/.").c_str(), X_OK) != 0) {
    return LaunchCause(node_, "the working directory " + Quoted(workdir_) +
                                  " cannot be entered: " + std::strerror(errno) +
                                  "; it must exist on every node, or be set with workdir");
  }
  if (Cause cause = CheckProgram(order.program, node_); cause.kind != CauseKind::kNone) {
    return cause;
  }
  const Host& host = order.hosts[order.host_index];
  if (host.first_rank == 0 && (order.launch.stdin_rank0 || order.launch.pty)) {
    Result<RankInput> input = MakeInput(order.launch);
    if (!input.ok()) return LaunchCause(node_, input.status().message());
    input_ = *std::move(input);
  }
  for (std::uint32_t local = 0; local < host.slots.size(); ++local) {
    Cause cause = PrepareRank(order, local);
    if (cause.kind != CauseKind::kNone) return cause;
  }
  return {};
}

Cause LocalRanks::PrepareRank(const StartAttempt& order, std::uint32_t local_rank) {
  const std::string logs = LogsOfJob(logs_, order.job);
  const std::uint32_t number = order.hosts[order.host_index].first_rank + local_rank;
  LogTarget out_log = Target(logs, order.attempt, node_, number, /*is_stderr=*/false);
  const LogTarget err_log = Target(logs, order.attempt, node_, number, /*is_stderr=*/true);
  Rank& rank = ranks_[local_rank];
  rank.record.rank = number;
  if (number == 0 && input_ && input_->terminal()) {
    rank.err_path = out_log.path;
    out_log.keep_end = true;
    Result<UniqueFd> output = input_->Output();
    const Status added =
        output.ok() ? drain_.AddFrom(out_log, *std::move(output)) : output.status();
    return added.ok() ? Cause() : LaunchCause(node_, added.message());
  }
  rank.err_path = err_log.path;
  Result<UniqueFd> out = drain_.Add(out_log, kOutPipeBytes);
  Result<UniqueFd> err = drain_.Add(err_log, kErrPipeBytes);
  if (!out.ok()) return LaunchCause(node_, out.status().message());
  if (!err.ok()) return LaunchCause(node_, err.status().message());
  rank.out = *std::move(out);
  rank.err = *std::move(err);
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
  settling_ = forgetting_ = 0;
  looks_left_ = kLogLooks;
  memory_.Begin(groups_.empty() ? "" : groups_.back());
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
    const bool reads = input_ && rank.record.rank == 0;
    spawn.in = reads ? input_->rank_end() : -1;
    spawn.terminal = reads && input_->terminal();
    spawn.out = spawn.terminal ? spawn.in : rank.out.get();
    spawn.err = spawn.terminal ? spawn.in : rank.err.get();
    spawn.inherited = links[local].get();
    spawn.tag = local;
    const Result<pid_t> pid = Start(spawn);
    rank.out.Reset();
    rank.err.Reset();
    if (reads) input_->Forked();
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

Result<Spawn> LocalRanks::Beside(std::uint32_t local_rank, std::vector<std::string> argv) const {
  const std::string pid = std::to_string(PidOf(local_rank));
  const Result<std::string> environment = ReadFile("/proc/" + pid + "/environ");
  if (pid == "0" || !environment.ok() || environment->find("MUSTER_RANK=") == std::string::npos) {
    return Status(Code::kUnavailable, "the rank has ended, or has not begun yet");
  }
  Spawn spawn{.argv = std::move(argv),
              .environment = EnvironmentBeside(Split(*environment, '\0'), pid),
              .workdir = workdir_,
              .umask = umask_,
              .limits = limits_,
              .group = groups_.empty() ? "" : groups_.back()};
  for (std::string& word : spawn.argv) {
    for (std::size_t at = word.find("{pid}"); at != std::string::npos;
         at = word.find("{pid}", at)) {
      word.replace(at, 5, pid);
    }
  }
  spawn.paths = ProgramPaths(spawn.argv[0], workdir_, spawn.environment);
  return spawn;
}

void LocalRanks::Signal(int number) {
  for (const auto& [local, rank] : ranks_) SignalOne(local, number);
}

void LocalRanks::SignalOne(std::uint32_t local_rank, int number) {
  const pid_t pid = PidOf(local_rank);
  // One with a terminal makes its group itself, and may not have done so yet.
  if (pid > 0 && kill(-pid, number) != 0) kill(pid, number);
}

void LocalRanks::SignalProcess(std::uint32_t local_rank, int number) {
  const pid_t pid = PidOf(local_rank);
  if (pid > 0) kill(pid, number);
}

bool LocalRanks::Catches(std::uint32_t local_rank, int number) const {
  const Result<std::string> status =
      ReadFile("/proc/" + std::to_string(PidOf(local_rank)) + "/status");
  const std::size_t at = status.ok() ? status->find("\nSigCgt:\t") : std::string::npos;
  if (at == std::string::npos) return false;
  const std::uint64_t caught = std::strtoull(status->c_str() + at + 9, nullptr, 16);
  return ((caught >> static_cast<unsigned>(number - 1)) & 1U) != 0;
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

std::optional<LocalRanks::Exit> LocalRanks::Reaped(pid_t pid, int wait_status,
                                                   std::uint64_t peak_bytes) {
  for (auto& [local, rank] : ranks_) {
    if (rank.record.exited || rank.record.pid != pid) continue;
    rank.record.exited = true;
    rank.record.wait_status = wait_status;
    ReadReports();
    const bool by_us = killed_ && WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
    return Exit{local, by_us ? OurKill(rank) : CauseOf(rank, local, peak_bytes), by_us};
  }
  return std::nullopt;
}

void LocalRanks::ReadReports() {
  ExecFailure failure;
  while (read(reports_.get(), &failure, sizeof failure) == sizeof failure) {
    failures_[failure.tag] = failure;
  }
}

// What our own kill cut short has nothing to say.
Cause LocalRanks::OurKill(const Rank& rank) const {
  return {.kind = CauseKind::kSignal,
          .rank = static_cast<std::int32_t>(rank.record.rank),
          .node = node_,
          .code = SIGKILL};
}

Cause LocalRanks::CauseOf(const Rank& rank, std::uint32_t local_rank, std::uint64_t peak_bytes) {
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
  if (cause.kind == CauseKind::kSignal && cause.code == SIGKILL &&
      memory_.Ended(rank.record.pid, peak_bytes)) {
    cause.kind = CauseKind::kOutOfMemory;
    cause.used_bytes = peak_bytes;
    cause.limit_bytes = OutOfMemoryWatch::Limit(groups_.empty() ? "" : groups_.back());
  }
  if (cause.text.empty()) {
    cause.text = LastWordsOf(rank);
  }
  // SIGPIPE is what a rank gets that writes to one that is gone.
  const bool by_itself = cause.kind == CauseKind::kExit || cause.kind == CauseKind::kSignal;
  cause.consequence = by_itself && ((cause.kind == CauseKind::kSignal && cause.code == SIGPIPE) ||
                                    muster::BlamesPeer(cause.text));
  cause.wall_us = WallMicroseconds();
  cause.rank = static_cast<std::int32_t>(rank.record.rank);
  cause.node = node_;
  return cause;
}

bool LocalRanks::BlamesPeer(std::uint32_t local_rank) {
  const auto found = ranks_.find(local_rank);
  return found != ranks_.end() && muster::BlamesPeer(LastWordsOf(found->second));
}

std::string LocalRanks::LastWordsOf(const Rank& rank) {
  drain_.Settle(kLogPatience);
  const std::optional<std::string> end = drain_.EndOf(rank.err_path);
  return end ? LastWords(*end, /*whole=*/end->size() < kLogEndMost) : LastWordsIn(rank.err_path);
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
    case ExecStage::kTerminal:
      return LaunchCause(node_, "rank 0 could not take its terminal: " + error);
    case ExecStage::kExec:
      break;
  }
  return CannotRun(program_, node_, failure.error);
}

std::size_t LocalRanks::alive() const {
  return static_cast<std::size_t>(std::count_if(ranks_.begin(), ranks_.end(), [](const auto& item) {
    return item.second.record.pid > 0 && !item.second.record.exited;
  }));
}

bool LocalRanks::LogsWhole() {
  if (alive() > 0) return false;
  if (drained_) return true;
  if (settling_ == 0) settling_ = drain_.BeginSettle();
  return Settled(settling_);
}

bool LocalRanks::Gone(const std::set<pid_t>& ours) {
  if (alive() > 0 || !EndAllBut(ours)) return false;
  if (drained_) return true;
  if (forgetting_ == 0) forgetting_ = drain_.BeginForget();
  drained_ = Settled(forgetting_);
  return drained_;
}

bool LocalRanks::Settled(std::uint64_t begun) {
  if (looks_left_ > 0 && drain_.Settled(begun, kLogLook)) return true;
  if (looks_left_ > 0 && --looks_left_ == 0) {
    Log(LogLevel::kError, "the disk of the logs hangs: what the ranks wrote last is not all there");
  }
  return looks_left_ == 0;
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
  input_.reset();
  reports_.Reset();
  killed_ = false;
}

void LocalRanks::RemoveGroups() {
  std::erase_if(groups_, [](const std::string& group) {
    return !GroupPopulated(group) && RemoveGroup(group).ok();
  });
}

std::string LastWordsIn(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return "";
  const off_t begin = std::max<off_t>(0, info.st_size - static_cast<off_t>(kLastWordsMost));
  std::string text(kLastWordsMost, '\0');
  const ssize_t n = pread(fd.get(), text.data(), text.size(), begin);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return LastWords(text, /*whole=*/begin == 0);
}

}  // namespace muster
