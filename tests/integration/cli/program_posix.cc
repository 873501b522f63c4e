#include "tests/integration/cli/program_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster::testing {
namespace {

using Steady = std::chrono::steady_clock;

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& changes) {
  std::vector<std::string> all = Environment();
  for (const std::string& change : changes) {
    const std::string name = change.substr(0, change.find('=')) + "=";
    std::erase_if(all, [&](const std::string& entry) { return entry.starts_with(name); });
    if (change.find('=') != std::string::npos) all.push_back(change);
  }
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

int MsUntil(Steady::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

void ReadInto(UniqueFd& fd, std::string& text) {
  std::array<char, 65536> buffer{};
  const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
  if (n > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(n));
  } else if (n == 0 || errno != EINTR) {
    fd.Reset();
  }
}

}  // namespace

Program::Program(const std::string& path, const std::vector<std::string>& arguments,
                 const StartOptions& options) {
  std::array<int, 2> out{}, err{};
  CHECK(pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0);
  const UniqueFd out_end(out[1]), err_end(err[1]);
  out_fd_.Reset(out[0]);
  err_fd_.Reset(err[0]);
  const UniqueFd binary(open(path.c_str(), O_PATH | O_CLOEXEC));
  CHECK(binary.valid());
  std::vector<std::string> texts = arguments;
  texts.insert(texts.begin(), path);
  std::vector<std::string> environment = EnvironmentWith(options.environment);
  std::vector<char*> argv = Pointers(texts), envp = Pointers(environment);
  pid_ = fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    setsid();  // A signal to its group stays there.
    dup2(out_end.get(), STDOUT_FILENO);
    dup2(err_end.get(), STDERR_FILENO);
    if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(99);
    if (geteuid() == 0 && options.uid != 0 &&
        (setgroups(0, nullptr) != 0 || setresgid(options.uid, options.uid, options.uid) != 0 ||
         setresuid(options.uid, options.uid, options.uid) != 0)) {
      _exit(99);
    }
    syscall(SYS_execveat, binary.get(), "", argv.data(), envp.data(), AT_EMPTY_PATH);
    _exit(99);
  }
  pidfd_.Reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  CHECK(pidfd_.valid());
}

Program::~Program() {
  if (pid_ < 0) return;
  Signal(SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Program::Signal(int number) const {
  syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

void Program::CloseOutput() {
  out_fd_.Reset();
}

bool Program::ReadSome(Steady::time_point deadline) {
  std::array<pollfd, 2> waits = {{{.fd = out_fd_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = err_fd_.get(), .events = POLLIN, .revents = 0}}};
  const int ready = poll(waits.data(), waits.size(), MsUntil(deadline));
  if (ready < 0) return errno == EINTR;
  if (waits[0].revents != 0) ReadInto(out_fd_, out_);
  if (waits[1].revents != 0) ReadInto(err_fd_, err_);
  return ready > 0;
}

bool Program::AwaitOutput(const std::string& text) {
  const auto deadline = Steady::now() + kPatience;
  while (out_.find(text) == std::string::npos) {
    if (!out_fd_.valid() || !ReadSome(deadline)) return false;
  }
  return true;
}

int Program::Wait() {
  const auto deadline = Steady::now() + kPatience;
  while (out_fd_.valid() || err_fd_.valid()) {
    if (!ReadSome(deadline)) return -1;
  }
  pollfd wait = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  if (poll(&wait, 1, MsUntil(deadline)) <= 0) return -1;
  int status = 0;
  CHECK(waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

namespace {

// A job daemon without a job writes no status.
bool IsSpare(const std::vector<std::string>& arguments) {
  const auto shm = std::find(arguments.begin(), arguments.end(), "--shm");
  return shm != arguments.end() && access(LiveStatus(*(shm + 1)).c_str(), F_OK) != 0;
}

}  // namespace

std::vector<pid_t> PartsNamed(const std::string& verb, const Scene& scene) {
  std::vector<pid_t> found;
  DIR* dir = opendir("/proc");
  CHECK(dir != nullptr);
  while (const dirent* entry = readdir(dir)) {
    const auto pid = ParseUnsigned(entry->d_name);
    if (!pid) continue;
    const std::string folder = "/proc/" + std::to_string(*pid);
    const auto command = ReadFile(folder + "/cmdline");
    const auto environment = ReadFile(folder + "/environ");
    if (!command.ok() || !environment.ok()) continue;
    const std::vector<std::string> arguments = Split(*command, '\0');
    if (arguments.size() < 2 || arguments[0] != "muster" || arguments[1] != verb) continue;
    if (IsSpare(arguments)) continue;
    // Job daemons get an environment of their own, but their folders are the test's.
    const bool marked =
        environment->find("MUSTER_TEST_MARK=" + scene.mark() + '\0') != std::string::npos;
    if (!marked && command->find(scene.folder() + "/") == std::string::npos) continue;
    found.push_back(static_cast<pid_t>(*pid));
  }
  closedir(dir);
  return found;
}

std::optional<pid_t> AwaitPart(const std::string& verb, const Scene& scene, pid_t other) {
  const auto deadline = Steady::now() + kPatience;
  while (Steady::now() < deadline) {
    for (const pid_t pid : PartsNamed(verb, scene)) {
      if (pid != other) return pid;
    }
    // Nothing tells when a process that is no child of ours starts.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return std::nullopt;
}

}  // namespace muster::testing
