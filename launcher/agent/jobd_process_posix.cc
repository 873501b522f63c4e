#include "launcher/agent/jobd_process_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "launcher/agent/node_posix.h"
#include "launcher/agent/reach_posix.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr int kFailedToStart = 125;

std::string RecordFile(const JobdHost& host, JobId job) {
  return host.paths.Job(host.node, job) + "/record";
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
  ChildPlan(const JobdHost& host, const StartAttempt& order, const JobdRecord& record) {
    const ClusterPaths& paths = host.paths;
    const JobId job = order.job;
    arguments_ = {"muster",    "jobd",
                  "--job",     std::to_string(job),
                  "--node",    host.node,
                  "--socket",  paths.JobdSocket(host.node, job),
                  "--status",  paths.JobStatus(host.node, job),
                  "--logs",    paths.JobLogs(job),
                  "--runtime", paths.JobRuntime(host.node, job),
                  "--shm",     paths.JobShm(host.node, job),
                  "--cookie",  record.cookie,
                  "--cgroup",  record.group};
    environment_ = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=" + order.owner.home,
                    "USER=" + order.owner.user,
                    "LOGNAME=" + order.owner.user,
                    "MUSTER_CLUSTER_COOKIE=" + paths.short_id,
                    CookieEntry(record.cookie)};
    groups_.assign(order.owner.groups.begin(), order.owner.groups.end());
    uid_ = order.owner.uid;
    gid_ = order.owner.gid;
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
      Log(LogLevel::kWarning, "job=" + std::to_string(record.job) + " " + entered.message());
      RETURN_IF_ERROR(RemoveGroup(record.group));
      record.group.clear();
    }
  }
  return WriteFileAtomically(RecordFile(host, record.job), EncodeWire(record));
}

// A group for a new jobd.  One that was killed stays deadly: whoever is born into it, or below it,
// dies at once (seen on Linux 6.18).  So what containment killed is removed first.
std::string FreshGroup(const std::string& cookie, const Owner& owner) {
  const std::string name = "muster-" + cookie;
  std::string group = MakeGroup(name, owner.uid, owner.gid);
  if (!RemoveGroup(group).ok()) return group;  // Somebody is in it still.
  return MakeGroup(name, owner.uid, owner.gid);
}

}  // namespace

Result<JobdProcess> StartJobd(const JobdHost& host, const StartAttempt& order) {
  RETURN_IF_ERROR(MayStart(host, order.owner));
  const ClusterPaths& paths = host.paths;
  // The record is the agent's: its next life trusts it.  What is in these is the owner's.
  const std::string record_folder = paths.Job(host.node, order.job);
  RETURN_IF_ERROR(MakeFolders(record_folder));
  if (geteuid() == 0 && chmod(record_folder.c_str(), 0711) != 0) {
    return ErrnoStatus("chmod " + record_folder, errno);
  }
  const std::vector<std::string> owned = {
      paths.JobOwn(host.node, order.job), paths.JobLogs(order.job),
      paths.JobRuntime(host.node, order.job), paths.JobShm(host.node, order.job)};
  for (const std::string& folder : owned) RETURN_IF_ERROR(MakeOwned(folder, order.owner));
  RETURN_IF_ERROR(CheckReach(order.owner, owned));
  JobdProcess jobd;
  JobdRecord& record = jobd.record;
  record = {.job = order.job,
            .boot_id = host.boot_id,
            .uid = order.owner.uid,
            .grace_ms = order.grace_ms,
            .cookie = paths.JobCookie(host.node, order.job)};
  record.group = FreshGroup(record.cookie, order.owner);
  const std::string log_file = paths.Job(host.node, order.job) + "/jobd.log";
  const UniqueFd log(open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log.valid()) return ErrnoStatus("open " + log_file, errno);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe", errno);
  UniqueFd wait_end(ends[0]), go_end(ends[1]);
  const ChildPlan plan(host, order, record);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus("fork", errno);
  if (pid == 0) {
    close(go_end.get());  // Else the child would wait for itself.
    plan.Become(wait_end.get(), log.get());
  }
  Status ready = Prepare(host, pid, record);
  if (ready.ok()) ready = WriteAll(go_end.get(), "g", 1).While("starting the job daemon");
  go_end.Reset();  // Without a byte the child leaves.
  if (!ready.ok()) {
    waitpid(pid, nullptr, 0);
    return ready;
  }
  jobd.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!jobd.pidfd.valid()) return ErrnoStatus("pidfd_open", errno);
  return jobd;
}

std::vector<FoundJob> FindJobs(const JobdHost& host) {
  std::vector<FoundJob> found;
  DIR* dir = opendir(host.paths.Jobs(host.node).c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    const auto job = ParseUnsigned(entry->d_name);
    if (!job) continue;
    found.push_back({.job = *job});
    const auto bytes = ReadFile(RecordFile(host, *job));
    if (!bytes.ok()) continue;
    auto record = DecodeWire<JobdRecord>(*bytes);
    if (record.ok() && record->boot_id == host.boot_id && record->job == *job) {
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
  return KillRound({.group = record.group, .entry = CookieEntry(record.cookie), .uid = record.uid},
                   {}) == 0;
}

Status SweepTraces(const JobdHost& host, JobId job, const std::optional<JobdRecord>& record) {
  const ClusterPaths& paths = host.paths;
  if (record) RETURN_IF_ERROR(RemoveGroup(record->group));
  RETURN_IF_ERROR(RemoveTree(paths.JobdSocket(host.node, job)));
  RETURN_IF_ERROR(RemoveTree(paths.JobRuntime(host.node, job)));
  RETURN_IF_ERROR(RemoveTree(paths.JobShm(host.node, job)));
  return RemoveTree(paths.Job(host.node, job));  // Last: it is how a later life finds the rest.
}

JobdRecord GuessRecord(const JobdHost& host, JobId job, std::uint32_t uid) {
  return {.job = job,
          .boot_id = host.boot_id,
          .uid = uid,
          .cookie = host.paths.JobCookie(host.node, job)};
}

}  // namespace muster
