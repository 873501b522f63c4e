#include "launcher/agent/jobd_process_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "launcher/agent/node_posix.h"
#include "launcher/agent/reach_posix.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/jobd_arguments.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/tls_openssl.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr int kFailedToStart = 125;
constexpr int kDaemonNice = -10;  // Taken where we may, which root may.

// What is not root's may go back to nice 0 after it made itself nicer: a mover does.
void LetNiceComeBack() {
  constexpr rlim_t kToZero = 20;
  rlimit limit{};
  if (getrlimit(RLIMIT_NICE, &limit) != 0 || limit.rlim_cur >= kToZero) return;
  limit = {.rlim_cur = kToZero, .rlim_max = std::max(limit.rlim_max, kToZero)};
  setrlimit(RLIMIT_NICE, &limit);
}

std::string RecordFile(const JobdHost& host, const DaemonId& id) {
  return host.paths.Daemon(host.node, id) + "/record";
}

DaemonId NewDaemonId() {
  const std::string bytes = RandomBytes(4);
  return ToHex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

std::string CookieEntry(const std::string& cookie) {
  return "MUSTER_JOB_COOKIE=" + cookie;
}

Status MakeOwned(const std::string& folder, const Owner& owner) {
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  if (geteuid() == 0 && chown(folder.c_str(), owner.uid, owner.gid) != 0) {
    return ErrnoStatus("chown " + folder, errno);
  }
  return {};
}

// Everything that the child needs, made before the fork.
class ChildPlan {
 public:
  ChildPlan(const JobdHost& host, const Owner& owner, const JobdRecord& record) {
    const ClusterPaths& paths = host.paths;
    arguments_ = {"muster", "jobd"};
    for (std::string& word : ToWords({.node = host.node,
                             .socket = paths.DaemonSocket(host.node, record.id),
                             .status = paths.DaemonStatus(host.node, record.id),
                             .logs = paths.Logs(),
                             .shm = paths.DaemonShm(host.node, record.id),
                             .cgroup = record.group,
                             .cookie = record.cookie,
                             .ports = ToText(host.ports),
                             .slots = std::to_string(host.slots)})) {
      arguments_.push_back(std::move(word));
    }
    environment_ = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=" + owner.home,
                    "USER=" + owner.user,
                    "LOGNAME=" + owner.user,
                    "MUSTER_CLUSTER_COOKIE=" + paths.short_id,
                    CookieEntry(record.cookie)};
    groups_.assign(owner.groups.begin(), owner.groups.end());
    uid_ = owner.uid;
    gid_ = owner.gid;
    for (std::string& argument : arguments_) argv_.push_back(argument.data());
    for (std::string& entry : environment_) envp_.push_back(entry.data());
    argv_.push_back(nullptr);
    envp_.push_back(nullptr);
  }

  // In the child: system calls only, and never back.
  [[noreturn]] void Become(int go, int log) const {
    sigset_t none;
    sigemptyset(&none);
    for (int signal_number = 1; signal_number < NSIG; ++signal_number) {
      if (signal_number != SIGKILL && signal_number != SIGSTOP) signal(signal_number, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, nullptr);
    char byte = 0;
    if (read(go, &byte, 1) != 1) _exit(kFailedToStart);
    const int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(log, 2);
    syscall(SYS_close_range, 3U, ~0U, 0U);
    // Its word that it lives must go out while the ranks use every core (D13).
    setpriority(PRIO_PROCESS, 0, kDaemonNice);
    LetNiceComeBack();
    if (geteuid() == 0 && !TakeIds()) _exit(kFailedToStart);
    if (setsid() < 0) _exit(kFailedToStart);
    umask(077);
    execve("/proc/self/exe", argv_.data(), envp_.data());
    _exit(kFailedToStart);
  }

 private:
  // Not the library's calls: those would look for the other threads of the parent.
  bool TakeIds() const {
    return syscall(SYS_setgroups, groups_.size(), groups_.data()) == 0 &&
           syscall(SYS_setresgid, gid_, gid_, gid_) == 0 &&
           syscall(SYS_setresuid, uid_, uid_, uid_) == 0;
  }

  std::vector<std::string> arguments_, environment_;
  std::vector<char*> argv_, envp_;
  std::vector<gid_t> groups_;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
};

Status MayStart(const JobdHost& host, const Owner& owner) {
  if (owner.uid == 0 && !host.allow_root) {
    return Status(Code::kDenied, "jobs of root are not allowed on this node (--allow-root)");
  }
  if (geteuid() != 0 && owner.uid != geteuid()) {
    return Status(Code::kDenied, "this agent runs as uid " + std::to_string(geteuid()) +
                                     " and cannot start a job of uid " + std::to_string(owner.uid));
  }
  return {};
}

// Everything up to the child's leave to run.
Status Prepare(const JobdHost& host, pid_t pid, JobdRecord& record) {
  record.pid = pid;
  record.start = StartOf(pid).value_or(0);
  if (!record.group.empty()) {
    const Status entered = EnterGroup(record.group, pid);
    if (!entered.ok()) {  // Contained by its cookie then.
      Log(LogLevel::kWarning, "daemon=" + record.id + " " + entered.message());
      RETURN_IF_ERROR(RemoveGroup(record.group));
      record.group.clear();
    }
  }
  return ReplaceFile(RecordFile(host, record.id), EncodeWire(record));
}

// The folders, the group and the process of a daemon whose record has its names.
Status StartIn(const JobdHost& host, const Owner& owner, JobdProcess& jobd) {
  const ClusterPaths& paths = host.paths;
  JobdRecord& record = jobd.record;
  const std::string folder = paths.Daemon(host.node, record.id);
  // The record is the agent's: its next life trusts it.  What is in these is the owner's.
  RETURN_IF_ERROR(MakeFolders(folder));
  if (geteuid() == 0 && chmod(folder.c_str(), 0711) != 0) return ErrnoStatus("chmod", errno);
  const std::vector<std::string> owned = {paths.DaemonOwn(host.node, record.id),
                                          paths.DaemonShm(host.node, record.id)};
  for (const std::string& own : owned) RETURN_IF_ERROR(MakeOwned(own, owner));
  RETURN_IF_ERROR(
      CheckReach(owner, {owned[0], owned[1], paths.runtime + "/" + host.node, paths.Logs()}));
  record.group = MakeGroup("muster-" + record.cookie, owner.uid, owner.gid);
  const std::string log_file = folder + "/jobd.log";
  const UniqueFd log(open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return ErrnoStatus("open " + log_file, errno);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe", errno);
  UniqueFd wait_end(ends[0]), go_end(ends[1]);
  const ChildPlan plan(host, owner, record);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus("fork", errno);
  if (pid == 0) {
    close(go_end.get());  // Else the child would wait for itself.
    plan.Become(wait_end.get(), log.get());
  }
  jobd.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  Status ready = jobd.pidfd.valid() ? Prepare(host, pid, record) : ErrnoStatus("pidfd_open", errno);
  if (ready.ok()) ready = WriteAll(go_end.get(), "g", 1).While("starting the job daemon");
  go_end.Reset();  // Without a byte the child leaves.
  if (!ready.ok()) waitpid(pid, nullptr, 0);
  return ready;
}

}  // namespace

Result<JobdProcess> StartJobd(const JobdHost& host, const Owner& owner) {
  RETURN_IF_ERROR(MayStart(host, owner));
  JobdProcess jobd;
  jobd.record = {.boot_id = host.boot_id, .uid = owner.uid, .id = NewDaemonId()};
  jobd.record.cookie = host.paths.JobCookie(host.node, jobd.record.id);
  Status started = StartIn(host, owner, jobd);
  if (started.ok()) return jobd;
  // Nobody knows of it: what it has already would stay until this agent's next life.
  const Status swept = SweepTraces(host, jobd.record.id, jobd.record.group);
  if (!swept.ok()) Log(LogLevel::kWarning, swept.message());
  return started;
}

Status GiveJob(const JobdHost& host, const StartAttempt& order, JobdRecord& record) {
  const std::string logs = host.paths.JobLogs(order.job);
  RETURN_IF_ERROR(MakeOwned(logs, order.owner));
  RETURN_IF_ERROR(CheckReach(order.owner, {logs}));  // It may be other than when a spare started.
  record.job = order.job;
  record.grace_ms = order.grace_ms;
  return ReplaceFile(RecordFile(host, record.id), EncodeWire(record));
}

std::vector<FoundDaemon> FindDaemons(const JobdHost& host) {
  std::vector<FoundDaemon> found;
  DIR* dir = opendir(host.paths.Daemons(host.node).c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    found.push_back({.id = entry->d_name});
    const auto bytes = ReadFile(RecordFile(host, found.back().id));
    if (!bytes.ok()) continue;
    auto record = DecodeWire<JobdRecord>(*bytes);
    if (record.ok() && record->boot_id == host.boot_id && record->id == found.back().id) {
      found.back().record = *std::move(record);
    }
  }
  closedir(dir);
  return found;
}

std::optional<JobdProcess> OpenJobd(const JobdRecord& record) {
  JobdProcess jobd;
  jobd.record = record;
  jobd.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, record.pid, 0)));
  // Looked at after the descriptor names one process for good.
  if (!jobd.pidfd.valid() || StartOf(record.pid) != record.start) return std::nullopt;
  return jobd;
}

bool ContainRound(const JobdRecord& record) {
  // By its pid too: until it is the job daemon, the child carries no cookie.
  const auto jobd = OpenJobd(record);
  if (jobd) syscall(SYS_pidfd_send_signal, jobd->pidfd.get(), SIGKILL, nullptr, 0);
  return KillRound({.group = record.group, .entry = CookieEntry(record.cookie), .uid = record.uid},
                   {}) == 0 &&
         !jobd;
}

Status SweepTraces(const JobdHost& host, const DaemonId& id, const std::string& group) {
  const ClusterPaths& paths = host.paths;
  RETURN_IF_ERROR(RemoveGroup(group));
  RETURN_IF_ERROR(RemoveTree(paths.DaemonSocket(host.node, id)));
  RETURN_IF_ERROR(RemoveTree(ExecSocket(paths.DaemonSocket(host.node, id))));
  RETURN_IF_ERROR(RemoveTree(paths.DaemonShm(host.node, id)));
  return RemoveTree(paths.Daemon(host.node, id));  // Last: it is how a later life finds the rest.
}

void RemoveDaemon(const JobdHost& host, const FoundDaemon& found) {
  constexpr int kMostRounds = 500;
  constexpr int kPauseMs = 2;
  Status swept;
  for (int round = 0; round < kMostRounds; ++round) {
    if (!found.record || ContainRound(*found.record)) {
      waitpid(-1, nullptr, WNOHANG);
      swept = SweepTraces(host, found.id, found.record ? found.record->group : "");
      if (swept.ok()) return;
    }
    poll(nullptr, 0, kPauseMs);  // For the kernel to end what was killed.
  }
  Log(LogLevel::kError, "daemon=" + found.id + " is not removed yet: " + swept.message());
}

}  // namespace muster
