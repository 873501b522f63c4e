#include "launcher/coordinator/coordinator_main.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "launcher/coordinator/journal_threads.h"
#include "launcher/coordinator/loop_threads.h"
#include "launcher/coordinator/server_grpc.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// What the jobs' grace may take on top, when the keeper is dead.
constexpr std::chrono::seconds kAfterGrace(10);
constexpr int kLookMs = 50;

int Fail(const Status& status) {
  Log(LogLevel::kError, status.message());
  return status.code() == Code::kInvalid ? 2 : 1;
}

class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    fd_.Reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  int fd() const { return fd_.get(); }
  // 0: none.
  int Next() {
    signalfd_siginfo info{};
    if (read(fd_.get(), &info, sizeof info) != sizeof info) return 0;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  UniqueFd fd_;
};

// The process's main thread: waits for signals, the keeper's death and the journal's failure.
class Watch {
 public:
  Watch(const CoordinatorConfig& config, Loop& loop, Signals& signals, int failed_fd)
      : config_(config), loop_(loop), signals_(signals), failed_fd_(failed_fd) {}

  // Returns when the process is to end.
  void Run() {
    int keeper_fd = config_.keeper_fd;
    TimePoint until = TimePoint::max();  // Set once the keeper is dead.
    for (;;) {
      pollfd fds[] = {{.fd = signals_.fd(), .events = POLLIN, .revents = 0},
                      {.fd = failed_fd_, .events = POLLIN, .revents = 0},
                      {.fd = keeper_fd, .events = POLLIN, .revents = 0}};
      const bool leaving = until != TimePoint::max();
      if (poll(fds, std::size(fds), leaving ? kLookMs : -1) < 0 && errno != EINTR) return;
      for (int signal = signals_.Next(); signal != 0; signal = signals_.Next()) {
        if (signal != SIGUSR1) return;
        loop_.Run([](Front& front, const Moment&) { Say(front.state()); });
      }
      if (fds[1].revents != 0) return;
      if (fds[2].revents != 0) {
        keeper_fd = -1;
        until = RealClock().Now() + GiveUp() + kAfterGrace;
      }
      if (leaving && (AllOver() || RealClock().Now() >= until)) return;
    }
  }

 private:
  static void Say(const State& state) {
    for (const std::string& line : Split(Dump(state), '\n')) {
      if (!line.empty()) Log(LogLevel::kInfo, "state: " + line);
    }
  }

  // Returns the longest grace of a job.
  Duration GiveUp() {
    Log(LogLevel::kWarning, "the keeper is dead: every job is to end");
    std::uint32_t grace_ms = 0;
    loop_.Run([&](Front& front, const Moment& at) {
      for (const auto& [id, job] : front.state().jobs) {
        if (job.phase != JobPhase::kEnded) grace_ms = std::max(grace_ms, job.spec.grace_ms);
      }
      front.GiveUp(at);
    });
    return std::chrono::milliseconds(grace_ms);
  }

  bool AllOver() {
    bool over = false;
    loop_.Run([&](Front& front, const Moment&) { over = front.AllOver(); });
    return over;
  }

  const CoordinatorConfig& config_;
  Loop& loop_;
  Signals& signals_;
  const int failed_fd_;
};

}  // namespace

int CoordinatorMain(const CoordinatorConfig& config) {
  SetLogProcess("coordinator");
  Signals signals;  // Blocked before gRPC's threads begin, which inherit that.
  RouteGrpcLog();
  const ClusterPaths paths{.state = config.state_dir};
  const std::string address_file = paths.CoordinatorAddress();
  auto credentials = LoadCredentials(paths.Ca(), kCoordinatorCredentials);
  if (!credentials.ok()) return Fail(credentials.status());

  JournalThread journal(paths.Journal(), RealClock());
  const UniqueFd failed_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Status failure;  // Written on the loop's thread before the event, read after Stop().
  Loop loop(config, journal, RealClock(), [&](const Status& status) {
    failure = status;
    Log(LogLevel::kError,
        "the journal failed, nothing is acknowledged any more: " + status.message());
    eventfd_write(failed_fd.get(), 1);
  });
  if (const Status started = loop.Start(); !started.ok()) return Fail(started);

  const auto before = ReadFile(address_file);
  auto server = CoordinatorServer::Listen(config, *credentials,
                                          before.ok() ? Split(*before, '\n')[0] : "", loop);
  if (!server.ok()) return Fail(server.status());
  Status written = WriteFileAtomically(address_file, (*server)->address() + "\n", 0644);
  if (!written.ok()) return Fail(written);
  Log(LogLevel::kInfo, "listens at " + (*server)->address());

  Watch(config, loop, signals, failed_fd.get()).Run();

  const Status stopped =
      loop.Stop(Status(Code::kUnavailable, "the coordinator is stopping; try again"));
  (*server)->Shutdown();
  if (!failure.ok()) return Fail(failure);
  if (!stopped.ok()) return Fail(stopped);
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace muster
