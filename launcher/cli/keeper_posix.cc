#include "launcher/cli/keeper_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr char kCookieName[] = "MUSTER_CLUSTER_COOKIE";

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

struct SpawnPlan {
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(
        &attributes,
        static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

}  // namespace

std::string TailOf(const std::string& file, std::size_t lines) {
  const auto bytes = ReadFile(file);
  if (!bytes.ok()) return "";
  std::string_view text = *bytes;
  while (text.ends_with('\n')) text.remove_suffix(1);
  std::size_t at = text.size();
  for (std::size_t i = 0; i < lines && at != std::string_view::npos && at > 0; ++i) {
    at = text.rfind('\n', at - 1);
  }
  return std::string(at == std::string_view::npos || at == 0 ? text : text.substr(at + 1));
}

// The kept processes and the thread that waits for their ends.
class Keeper::Loop {
 public:
  explicit Loop(KeeperConfig config) : config_(std::move(config)) {}

  ~Loop() {
    death_pipe_.Reset();
    Halt();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Status Start() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe", errno);
    parts_end_.Reset(ends[0]);
    death_pipe_.Reset(ends[1]);
    halt_.Reset(eventfd(0, EFD_CLOEXEC));
    if (!halt_.valid()) return ErrnoStatus("eventfd", errno);
    environment_ = Environment();
    std::erase_if(environment_, [](const std::string& entry) {
      return entry.rfind(std::string(kCookieName) + "=", 0) == 0;
    });
    environment_.push_back(std::string(kCookieName) + "=" + config_.cookie);
    for (const KeptPart& part : config_.parts) {
      parts_.push_back({.part = &part});
      RETURN_IF_ERROR(Spawn(parts_.back()));
    }
    thread_ = std::thread([this] { Tend(); });
    return {};
  }

  void Release() {
    Halt();
    death_pipe_.Reset();
  }

  bool Stop(Duration grace) {
    Release();
    const TimePoint deadline = RealClock().Now() + grace;
    bool all_left = true;
    for (Kept& kept : parts_) {
      if (!kept.part->disposable) all_left = Leaves(kept, deadline) && all_left;
    }
    for (Kept& kept : parts_) {
      if (kept.part->disposable) Leaves(kept, TimePoint::min());
    }
    return all_left;
  }

 private:
  struct Kept {
    const KeptPart* part = nullptr;
    pid_t pid = 0;
    UniqueFd pidfd;
    TimePoint started;
    int quick_deaths = 0;
  };

  Status Spawn(Kept& kept) {
    SpawnPlan plan;
    posix_spawn_file_actions_addopen(&plan.actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&plan.actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&plan.actions, 2, kept.part->log.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&plan.actions, parts_end_.get(), kKeeperFd);
    posix_spawn_file_actions_addclosefrom_np(&plan.actions, kKeeperFd + 1);
    std::vector<std::string> arguments = kept.part->argv;
    arguments.insert(arguments.begin(), "muster");
    std::vector<char*> argv = Pointers(arguments);
    std::vector<char*> envp = Pointers(environment_);
    const int error = posix_spawn(&kept.pid, "/proc/self/exe", &plan.actions, &plan.attributes,
                                  argv.data(), envp.data());
    if (error != 0) return ErrnoStatus("starting the " + kept.part->name, error);
    kept.started = RealClock().Now();
    kept.pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, kept.pid, 0)));
    if (!kept.pidfd.valid()) return ErrnoStatus("pidfd_open", errno);
    return {};
  }

  // Waits for its end until the deadline, then kills it.
  static bool Leaves(Kept& kept, TimePoint deadline) {
    if (!kept.pidfd.valid()) return true;
    const Duration left = std::max(deadline, RealClock().Now()) - RealClock().Now();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd wait = {.fd = kept.pidfd.get(), .events = POLLIN, .revents = 0};
    int ready = poll(&wait, 1, static_cast<int>(ms));
    while (ready < 0 && errno == EINTR) ready = poll(&wait, 1, static_cast<int>(ms));
    if (ready == 0) syscall(SYS_pidfd_send_signal, kept.pidfd.get(), SIGKILL, nullptr, 0);
    Reap(kept);
    return ready != 0;
  }

  // Returns how it ended, for people.
  static std::string Reap(Kept& kept) {
    int status = 0;
    pid_t reaped = waitpid(kept.pid, &status, 0);
    while (reaped < 0 && errno == EINTR) reaped = waitpid(kept.pid, &status, 0);
    kept.pidfd.Reset();
    if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status));
    return "left with exit status " + std::to_string(WEXITSTATUS(status));
  }

  void Tend() {
    for (;;) {
      std::vector<pollfd> waits = {{.fd = halt_.get(), .events = POLLIN, .revents = 0}};
      for (const Kept& kept : parts_) {
        waits.push_back({.fd = kept.pidfd.get(), .events = POLLIN, .revents = 0});
      }
      if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
      if (waits[0].revents != 0) return;
      for (std::size_t i = 0; i < parts_.size(); ++i) {
        if (waits[i + 1].revents != 0) Restart(parts_[i]);
      }
    }
  }

  void Restart(Kept& kept) {
    const std::string how = Reap(kept);
    const bool quick = RealClock().Now() - kept.started < kQuick;
    kept.quick_deaths = quick ? kept.quick_deaths + 1 : 0;
    Status failure;
    if (kept.quick_deaths < kQuickDeaths) {
      Log(LogLevel::kWarning, "the " + kept.part->name + " " + how + "; starting it again");
      failure = Spawn(kept);
    } else {
      failure =
          Status(Code::kUnavailable, "the " + kept.part->name + " " + how + " " +
                                         std::to_string(kept.quick_deaths) +
                                         " times in a row; it said:\n" + TailOf(kept.part->log, 5));
    }
    if (!failure.ok() && config_.failed) config_.failed(failure);
  }

  void Halt() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    CHECK(WriteAll(halt_.get(), &one, sizeof one).ok());
    thread_.join();
  }

  const KeeperConfig config_;
  std::vector<std::string> environment_;
  UniqueFd parts_end_, death_pipe_, halt_;
  std::vector<Kept> parts_;  // The thread's, once it runs.
  std::thread thread_;
};

Keeper::Keeper(KeeperConfig config) : loop_(std::make_unique<Loop>(std::move(config))) {}
Keeper::~Keeper() = default;
Status Keeper::Start() {
  return loop_->Start();
}
void Keeper::Release() {
  loop_->Release();
}
bool Keeper::Stop(Duration grace) {
  return loop_->Stop(grace);
}

}  // namespace muster
