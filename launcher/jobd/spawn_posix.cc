#include "launcher/jobd/spawn_posix.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/containment_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// All that the child needs, made before the fork: afterwards it only makes system calls.
struct Prepared {
  const Spawn& spawn;
  pid_t parent = getpid();
  std::vector<char*> argv = Pointers(spawn.argv);
  std::vector<char*> environment = Pointers(spawn.environment);
  std::vector<char*> shell_argv;  // For a script without "#!", as execvp(3) does it.
  std::string join_file;          // Empty: it is born in its group.
};

[[noreturn]] void Fail(const Spawn& spawn, ExecStage stage) {
  const ExecFailure failure{.tag = spawn.tag, .stage = stage, .error = errno};
  if (spawn.report >= 0 && write(spawn.report, &failure, sizeof failure) < 0) _exit(125);
  _exit(stage == ExecStage::kExec && failure.error == ENOENT ? 127 : 126);
}

void ResetSignals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void SetLimits(const Spawn& spawn) {
  for (const ResourceLimit& wanted : spawn.limits) {
    const auto resource = static_cast<__rlimit_resource_t>(wanted.resource);
    rlimit limit{.rlim_cur = wanted.soft, .rlim_max = wanted.hard};
    if (setrlimit(resource, &limit) == 0) continue;
    rlimit now{};
    if (getrlimit(resource, &now) != 0) Fail(spawn, ExecStage::kLimit);
    limit.rlim_max = std::min(limit.rlim_max, now.rlim_max);
    limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
    if (setrlimit(resource, &limit) != 0) Fail(spawn, ExecStage::kLimit);
  }
}

void Bind(const Spawn& spawn) {
  if (spawn.cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const std::uint32_t cpu : spawn.cpus) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) Fail(spawn, ExecStage::kBind);
}

// First all to numbers that no target has, then to the targets.
void PlaceDescriptors(const Spawn& spawn) {
  const int in =
      spawn.in < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : fcntl(spawn.in, F_DUPFD, 16);
  const int out = spawn.out < 0 ? -1 : fcntl(spawn.out, F_DUPFD, 16);
  const int err = spawn.err < 0 ? -1 : fcntl(spawn.err, F_DUPFD, 16);
  const int inherited = spawn.inherited < 0 ? -1 : fcntl(spawn.inherited, F_DUPFD, 16);
  const int report = spawn.report < 0 ? -1 : fcntl(spawn.report, F_DUPFD_CLOEXEC, 16);
  dup2(in, 0);
  if (out >= 0) dup2(out, 1);
  if (err >= 0) dup2(err, 2);
  if (inherited >= 0) dup2(inherited, kInheritedFd);
  if (report >= 0) dup3(report, kInheritedFd + 1, O_CLOEXEC);
  const unsigned first = inherited >= 0 ? kInheritedFd + 1 : kInheritedFd;
  close_range(first, ~0U, CLOSE_RANGE_CLOEXEC);
}

// A program for another machine is no script.
bool IsElf(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  char head[SELFMAG] = {};
  const bool is_elf =
      read(fd, head, sizeof head) == sizeof head && std::memcmp(head, ELFMAG, SELFMAG) == 0;
  close(fd);
  errno = ENOEXEC;
  return is_elf;
}

[[noreturn]] void RunChild(Prepared& prepared) {
  const Spawn& spawn = prepared.spawn;
  if (!spawn.terminal) setpgid(0, 0);
  if (spawn.terminal && setsid() < 0) Fail(spawn, ExecStage::kTerminal);
  ResetSignals();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != prepared.parent) _exit(125);
  if (!prepared.join_file.empty()) {
    const int fd = open(prepared.join_file.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1) Fail(spawn, ExecStage::kGroup);
  }
  if (getpriority(PRIO_PROCESS, 0) < 0) setpriority(PRIO_PROCESS, 0, 0);  // That is jobd's alone.
  Bind(spawn);
  SetLimits(spawn);
  if (spawn.umask >= 0) umask(static_cast<mode_t>(spawn.umask));
  if (!spawn.workdir.empty() && chdir(spawn.workdir.c_str()) != 0) {
    Fail(spawn, ExecStage::kWorkdir);
  }
  PlaceDescriptors(spawn);
  const Spawn report = {.report = spawn.report < 0 ? -1 : kInheritedFd + 1, .tag = spawn.tag};
  if (spawn.terminal && ioctl(0, TIOCSCTTY, 0) != 0) Fail(report, ExecStage::kTerminal);
  int error = ENOENT;
  for (const std::string& path : spawn.paths) {
    execve(path.c_str(), prepared.argv.data(), prepared.environment.data());
    if (errno == ENOEXEC && !IsElf(path.c_str())) {
      prepared.shell_argv[1] = const_cast<char*>(path.c_str());
      execve("/bin/sh", prepared.shell_argv.data(), prepared.environment.data());
    }
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
  Fail(report, ExecStage::kExec);
}

// As fork(2), but the child is born in the group.  Kernels and filters that do not know how get a
// child that joins it itself.
pid_t Fork(Prepared& prepared) {
  const std::string& group = prepared.spawn.group;
  if (group.empty()) return fork();
  if (BirthGroup(group)) {
    const UniqueFd folder(open(group.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    clone_args arguments{};
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = SIGCHLD;
    arguments.cgroup = static_cast<std::uint64_t>(folder.get());
    const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid >= 0) return static_cast<pid_t>(pid);
  }
  prepared.join_file = group + "/cgroup.procs";
  return fork();
}

}  // namespace

Result<pid_t> Start(const Spawn& spawn) {
  Prepared prepared{.spawn = spawn};
  prepared.shell_argv = prepared.argv;
  prepared.shell_argv.insert(prepared.shell_argv.begin(), const_cast<char*>("/bin/sh"));
  // Until the child has default signals, one that is meant for it must not run jobd's handlers:
  // they write into a socket that both share.
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t pid = Fork(prepared);
  if (pid == 0) RunChild(prepared);
  const int error = errno;
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return ErrnoStatus("start a process", error);
  // Whoever comes first: a kill of the group must find it.  The leader of a group cannot begin a
  // session.
  if (!spawn.terminal) setpgid(pid, pid);
  return pid;
}

Spawn SelfSpawn(const std::vector<std::string>& arguments) {
  Spawn spawn{.paths = {"/proc/self/exe"}};
  spawn.argv = {"muster"};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  for (const char* name : {"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH",
                           "MUSTER_CLUSTER_COOKIE", "MUSTER_JOB_COOKIE"}) {
    if (const auto value = GetEnv(name)) {
      spawn.environment.push_back(std::string(name) + "=" + *value);
    }
  }
  // libpmix crashes without a HOME when the user has no entry in passwd.
  if (!GetEnv("HOME")) spawn.environment.emplace_back("HOME=/");
  return spawn;
}

std::vector<std::string> ProgramPaths(const std::string& program, const std::string& workdir,
                                      const std::vector<std::string>& environment) {
  const auto absolute = [&](const std::string& path) {
    return path.rfind('/', 0) == 0 || workdir.empty() ? path : workdir + "/" + path;
  };
  if (program.find('/') != std::string::npos) return {absolute(program)};
  std::string folders = "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& entry : environment) {
    if (entry.rfind("PATH=", 0) == 0) folders = entry.substr(5);
  }
  std::vector<std::string> paths;
  for (const std::string& folder : Split(folders, ':')) {
    paths.push_back(absolute(folder.empty() ? program : folder + "/" + program));
  }
  return paths;
}

std::uint64_t StartTicks(pid_t pid) {
  const Result<std::string> stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!stat.ok()) return 0;
  const std::size_t name_end = stat->rfind(") ");
  if (name_end == std::string::npos) return 0;
  const std::vector<std::string> fields = Split(stat->substr(name_end + 2), ' ');
  constexpr std::size_t kStartTime = 22 - 3;  // The first here is field 3.
  return fields.size() > kStartTime ? ParseUnsigned(fields[kStartTime]).value_or(0) : 0;
}

}  // namespace muster
