#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <span>

#include "launcher/jobd/daemon_event.h"
#include "launcher/jobd/machine_posix.h"
#include "launcher/jobd/psk_openssl.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/status_file.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr timeval kFlushInterval{.tv_sec = 0, .tv_usec = 1000};
constexpr Duration kReachHead = std::chrono::seconds(20);

}  // namespace

void Daemon::Do(const ConnectToHead& effect) {
  // What both hosts have (docker0, virbr0) leads to this one, unless they are the same machine.
  std::vector<std::string> addresses = order().hosts[0].addresses;
  const std::set<std::string> own = OwnAddresses();
  std::stable_partition(addresses.begin(), addresses.end(),
                        [&](const std::string& address) { return !own.contains(address); });
  peers_.ConnectToHead(addresses, effect.port,
                       {.job = order().job,
                        .instance = state_.status.instance,
                        .host_index = order().host_index,
                        .attempt = order().attempt},
                       kReachHead);
}

void Daemon::Do(const AskRanks& effect) {
  const auto count = static_cast<std::uint32_t>(order().hosts[order().host_index].slots.size());
  for (std::uint32_t local = 0; local < count; ++local) {
    const bool told = services_.AskToStop(local, effect.grace_ms);
    if (!told) {
      ranks_.SignalOne(local, SIGTERM);
    } else if (ranks_.Catches(local, SIGTERM)) {
      ranks_.SignalProcess(local, SIGTERM);
    }
  }
}

void Daemon::Do(const SignalAll& effect) {
  const std::uint32_t first = order().hosts[order().host_index].first_rank;
  if (effect.rank < 0) return ranks_.Signal(effect.signal);
  ranks_.SignalOne(static_cast<std::uint32_t>(effect.rank) - first, effect.signal);
}

void Daemon::Do(const KillRanks&) {
  attempt_.killing = true;
  Reap();  // What ended by itself is told apart from what the kill ends.
  ranks_.Kill();
}

void Daemon::Do(const CleanUp& effect) {
  scripts_.Kill();  // A prolog; an epilog is over before the next attempt is prepared.
  if (attempt_.pmix) epilog_ = std::move(attempt_.epilog);
  attempt_ = {};
  event_del(spare_);
  mpi_watch_.End();
  services_.End();
  checkpoints_.End();
  fences_.Clear();
  pmix_.Drop();
  exec_.EndAll();
  ranks_.Kill();
  Poll();
  removal_.Add(ShmFolder(effect.attempt));
}

void Daemon::Do(const SendPeer& effect) {
  peers_.Send(effect.host_index, effect.message);
}

void Daemon::Do(const TellAgent&) {
  std::string bytes = EncodeWire(StatusFile{state_.status, ranks_.Records()});
  if (bytes != status_bytes_) {
    const Status written = ReplaceFile(LiveStatus(arguments_.shm), bytes);
    if (!written.ok()) Log(LogLevel::kError, written.message());
    if (written.ok()) status_bytes_ = std::move(bytes);
  }
  agent_.Send(state_.status);
}

void Daemon::TellMark(Mark mark) {
  agent_.Send(JobMark{.job = state_.status.job,
                      .attempt = state_.status.attempt,
                      .mark = mark,
                      .at_us = MonotonicMicroseconds()});
}

void Daemon::OnLogNews(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<Daemon*>(pointer);
  const JobdStatus& status = self->state_.status;
  for (const std::string& news : self->ranks_.log_news().Take()) {
    Log(LogLevel::kWarning, "job=" + std::to_string(status.job) + " " + news);
    self->agent_.Send(JobProgress{.job = status.job, .attempt = status.attempt, .note = news});
  }
}

void Daemon::Do(const SettleMover&) {
  checkpoints_.Settle();
}

// What was said last must leave this process first, though not at any price.
void Daemon::Do(const EndProcess&) {
  constexpr timeval kFlushMax{.tv_sec = 1, .tv_usec = 0};
  if (!epilog_.text.empty() || scripts_.running()) {
    end_after_epilog_ = true;
    return;
  }
  if (std::exchange(ending_, true)) return;
  event_base_loopexit(base_, &kFlushMax);
  evtimer_add(poll_, &kFlushInterval);
}

// All but movers that no kill ends.
void Daemon::ReapAll() {
  constexpr int kLookAfter = 500;  // Milliseconds; the others end at once.
  const int hang = checkpoints_.pids().empty() ? 0 : WNOHANG;
  for (int ms = 0;; ++ms) {
    pid_t pid = 0;
    while ((pid = waitpid(-1, nullptr, hang)) > 0) {
    }
    if (pid < 0) return;
    if (ms % kLookAfter == kLookAfter - 1) {
      const std::vector<pid_t> left = Descendants(getpid());
      if (!left.empty() && std::all_of(left.begin(), left.end(), IsStuckMover)) {
        Log(LogLevel::kWarning, "leaves " + std::to_string(left.size()) +
                                    " movers behind, in system calls on a store that does not "
                                    "answer; they die when those return");
        return;
      }
    }
    poll(nullptr, 0, 1);
  }
}

void Daemon::SweepTraces() {
  peers_.Drop();
  exec_.EndAll();
  ranks_.Kill();
  for (const pid_t pid : Ours()) kill(pid, SIGKILL);
  ReapAll();
  ranks_.RemoveGroups();
  removal_.RemoveAll();
  // An agent that was away reads there how it ended.
  if (!status_bytes_.empty()) {
    const Status written = ReplaceFile(arguments_.status, status_bytes_);
    if (!written.ok()) Log(LogLevel::kError, written.message());
  }
  const Status removed = RemoveTree(arguments_.shm);
  if (!removed.ok()) Log(LogLevel::kWarning, removed.message());
}

}  // namespace muster
