#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <span>

#include "launcher/jobd/daemon_event.h"
#include "launcher/jobd/machine_posix.h"
#include "launcher/jobd/psk_openssl.h"
#include "launcher/jobd/rank_environment.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/status_file.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr timeval kFlushInterval{.tv_sec = 0, .tv_usec = 1000};
// A spare PMIx helper for a program that is not MPI; for one that is, MaybeMpiUp comes first.
constexpr timeval kSpareAnyhow{.tv_sec = 2, .tv_usec = 0};
constexpr Duration kReachHead = std::chrono::seconds(20);

std::string Hex(const std::string& bytes) {
  return ToHex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

}  // namespace

void Daemon::Do(const ConnectToHead& effect) {
  peers_.ConnectToHead(order().hosts[0].addresses, effect.port,
                       {.job = order().job,
                        .instance = state_.status.instance,
                        .host_index = order().host_index,
                        .attempt = order().attempt},
                       kReachHead);
}

void Daemon::Do(const PrepareRanks&) {
  attempt_ = {};
  fences_.Clear();
  services_.Begin(order());
  checkpoints_.Begin(order());
  Cause cause = ranks_.Prepare(order());
  const Status made = MakeFolders(ShmFolder(order().attempt));
  if (cause.kind == CauseKind::kNone && !made.ok()) {
    cause = {.kind = CauseKind::kLaunch, .node = arguments_.node, .text = made.message()};
  }
  if (cause.kind != CauseKind::kNone) return Feed(LocalFailed{cause});
  attempt_.preparing = true;
  attempt_.ranks_here = RanksOnThisMachine(order());
  if (const Result<std::uint16_t> port = FreePort(); port.ok()) attempt_.master_port = *port;
  pmix::Register registration{
      // The same on every host, and never again.
      .job_namespace = "muster-" + order().run_id.substr(0, 16) + "-" +
                       std::to_string(order().job) + "-" + std::to_string(order().attempt),
      .host_index = order().host_index,
      .uid = order().owner.uid,
      .gid = order().owner.gid};
  for (const Host& host : order().hosts) {
    registration.hosts.push_back(
        {host.node, host.first_rank, static_cast<std::uint32_t>(host.slots.size())});
  }
  pmix_.Register(registration);
}

std::string Daemon::ShmFolder(AttemptNumber attempt) const {
  return arguments_.shm + "/" + std::to_string(attempt);
}

std::vector<std::string> Daemon::EnvironmentOf(std::uint32_t local_rank,
                                               const std::string& token) const {
  const bool one_host = order().hosts.size() == 1;
  return RankEnvironment(
      order(), local_rank,
      {.cores = UsableCores(),
       .ranks_here = attempt_.ranks_here,
       .loopback_only = LoopbackOnly(order()),
       .master_address = one_host ? std::string("127.0.0.1") : peers_.head_address(),
       .master_port = attempt_.master_port,
       .cluster_cookie = GetEnv("MUSTER_CLUSTER_COOKIE").value_or(""),
       .job_cookie = arguments_.cookie,
       .link_token = token,
       .link_fd = kInheritedFd,
       .mpi_folder = pmix_.folder(),
       .shm_folder = ShmFolder(order().attempt),
       .pmix = (*attempt_.pmix)[local_rank].entries});
}

void Daemon::Do(const ForkRanks&) {
  std::vector<std::vector<std::string>> environments;
  std::vector<UniqueFd> links;
  const auto count = static_cast<std::uint32_t>(order().hosts[order().host_index].slots.size());
  for (std::uint32_t local = 0; local < count; ++local) {
    const std::string token = Hex(RandomBytes(8));
    environments.push_back(EnvironmentOf(local, token));
    Result<UniqueFd> link = services_.Open(local, token);
    links.push_back(link.ok() ? *std::move(link) : UniqueFd());
  }
  const std::vector<LocalRanks::Exit> unborn = ranks_.Fork(order(), environments, links);
  TellMark(Mark::kRanksForked);
  std::map<std::uint32_t, pid_t> pids;
  for (std::uint32_t local = 0; local < count; ++local) pids[local] = ranks_.PidOf(local);
  mpi_watch_.Begin(pids);
  evtimer_add(spare_, &kSpareAnyhow);
  for (const LocalRanks::Exit& exit : unborn) Feed(RankExited{exit.local_rank, exit.cause});
}

void Daemon::Do(const AskRanks& effect) {
  const auto count = static_cast<std::uint32_t>(order().hosts[order().host_index].slots.size());
  for (std::uint32_t local = 0; local < count; ++local) {
    if (!services_.AskToStop(local, effect.grace_ms)) ranks_.SignalOne(local, SIGTERM);
  }
}

void Daemon::Do(const SignalAll& effect) {
  ranks_.Signal(effect.signal);
}

void Daemon::Do(const KillRanks&) {
  attempt_.killing = true;
  ranks_.Kill();
}

void Daemon::Do(const CleanUp& effect) {
  attempt_ = {};
  event_del(spare_);
  mpi_watch_.End();
  services_.End();
  checkpoints_.End();
  fences_.Clear();
  pmix_.Drop();
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
    const Status written = ReplaceFile(arguments_.status, bytes);
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

void Daemon::Do(const SettleMover&) {
  constexpr timeval kSettleMax{.tv_sec = 30, .tv_usec = 0};
  evtimer_add(settle_max_, &kSettleMax);
  checkpoints_.Settle();
}

// A share that does not answer must not keep the job for ever; a commit is whole or not there.
void Daemon::OnSettleMax(evutil_socket_t, short, void* self) {
  Log(LogLevel::kError, "the store does not answer; what it was writing is given up");
  static_cast<Daemon*>(self)->Feed(MoverSettled{});
}

// What was said last must leave this process first, though not at any price.
void Daemon::Do(const EndProcess&) {
  constexpr timeval kFlushMax{.tv_sec = 1, .tv_usec = 0};
  if (std::exchange(ending_, true)) return;
  event_base_loopexit(base_, &kFlushMax);
  evtimer_add(poll_, &kFlushInterval);
}

void Daemon::SweepTraces() {
  peers_.Drop();
  ranks_.Kill();
  for (const pid_t pid : Ours()) kill(pid, SIGKILL);
  while (waitpid(-1, nullptr, 0) > 0) {
  }
  ranks_.RemoveGroups();
  removal_.RemoveAll();
  const Status removed = RemoveTree(arguments_.shm);
  if (!removed.ok()) Log(LogLevel::kWarning, removed.message());
}

}  // namespace muster
