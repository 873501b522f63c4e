#include "launcher/agent/local_jobds_posix.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/agent/node_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/status_file.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

bool Readable(int fd) {
  pollfd wait = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, 0) > 0;
}

std::string Named(JobId job) {
  return "job=" + std::to_string(job) + " ";
}

}  // namespace

LocalJobds::LocalJobds(JobdHost host, std::function<void(AgentEvent)> on_event,
                       std::function<void(const Report&)> on_report)
    : host_(std::move(host)), on_event_(std::move(on_event)), on_report_(std::move(on_report)) {}

std::vector<JobId> LocalJobds::Find() {
  std::vector<JobId> adopted;
  std::set<JobId> known;
  for (FoundJob& found : FindJobs(host_)) {
    if (found.record) {
      known.insert(found.job);
      adopted.push_back(found.job);
      jobs_[found.job].record = std::move(found.record);
      continue;
    }
    // Of another boot, or cut short before the daemon was let loose: nothing of it counts.
    const Status swept = SweepTraces(host_, found.job, std::nullopt);
    if (!swept.ok()) Log(LogLevel::kError, Named(found.job) + swept.message());
  }
  KillOrphans(known);
  return adopted;
}

void LocalJobds::KillOrphans(const std::set<JobId>& known) {
  constexpr int kMostRounds = 1000;
  const std::string prefix = host_.paths.short_id + "-" + host_.node + "-";
  for (int round = 0; round < kMostRounds; ++round) {
    bool clean = true;
    for (const Orphan& orphan : JobCarriers(prefix)) {
      if (known.contains(orphan.job) || !StartOf(orphan.pid)) continue;
      clean = false;
      Log(LogLevel::kWarning, Named(orphan.job) + "pid=" + std::to_string(orphan.pid) +
                                  " carries its cookie, but there is no record: killing it");
      kill(static_cast<pid_t>(orphan.pid), SIGKILL);
    }
    if (clean) return;
    poll(nullptr, 0, 5);  // For the kernel to end what was killed.
  }
}

// ---- effects ------------------------------------------------------------------------------------

void LocalJobds::Spawn(const StartAttempt& order) {
  Local& local = jobs_[order.job];
  local = Local();
  auto started = StartJobd(host_, order);
  const TimePoint now = RealClock().Now();
  if (started.ok()) {
    Adopt(local, *std::move(started), now);
    Tell(order.job, order);
    return;
  }
  Log(LogLevel::kError, Named(order.job) + started.status().message());
  local.record = GuessRecord(host_, order.job, order.owner.uid);
  local.failed = JobdStatus{.job = order.job, .attempt = order.attempt};
  local.failed->cause = {
      .kind = CauseKind::kLaunch, .node = host_.node, .text = started.status().message()};
}

void LocalJobds::Attach(JobId job) {
  Local& local = jobs_[job];
  auto process = local.record ? OpenJobd(*local.record) : std::nullopt;
  if (process) return Adopt(local, *std::move(process), RealClock().Now());
  local.failed = StatusFromFile(job);
}

void LocalJobds::Adopt(Local& local, JobdProcess process, TimePoint now) {
  local.record = process.record;
  local.process = std::move(process);
  local.connecting = true;
  local.next_try = now;
  local.give_up = now + kPatience;
}

void LocalJobds::Tell(JobId job, const Order& order) {
  Local& local = jobs_[job];
  if (local.link) {
    local.link->Queue(order);
  } else {
    local.unsent.push_back(order);
  }
}

void LocalJobds::Contain(JobId job) {
  Local& local = jobs_[job];
  if (!local.record) local.record = GuessRecord(host_, job, geteuid());
  local.containing = true;
  local.next_round = RealClock().Now();
}

void LocalJobds::Sweep(JobId job) {
  Local& local = jobs_[job];
  local.sweeping = true;
  local.next_round = RealClock().Now();
}

// ---- waiting ------------------------------------------------------------------------------------

std::vector<LocalJobds::Interest> LocalJobds::Interests() const {
  std::vector<Interest> interests;
  for (const auto& [job, local] : jobs_) {
    if (local.process) interests.push_back({.fd = local.process->pidfd.get()});
    if (local.link) interests.push_back({local.link->fd(), local.link->wants_to_write()});
  }
  return interests;
}

TimePoint LocalJobds::NextDeadline() const {
  TimePoint next = TimePoint::max();
  for (const auto& [job, local] : jobs_) {
    if (local.failed) return TimePoint::min();
    if (local.connecting) next = std::min(next, local.next_try);
    if (local.containing || local.sweeping) next = std::min(next, local.next_round);
  }
  return next;
}

void LocalJobds::Advance(TimePoint now) {
  std::vector<JobId> all;
  for (const auto& [job, local] : jobs_) all.push_back(job);
  // An event may add jobs, or end one.
  for (const JobId job : all) {
    const auto found = jobs_.find(job);
    if (found == jobs_.end()) continue;
    Local& local = found->second;
    if (local.failed) Exited(job, local, *std::exchange(local.failed, std::nullopt));
    if (local.connecting && local.next_try <= now) Connect(job, local, now);
    if (local.link) Talk(job, local, now);
    if (local.process) CheckExit(job, local);
    if ((local.containing || local.sweeping) && local.next_round <= now) {
      RunRounds(job, local, now);
    }
  }
}

void LocalJobds::Connect(JobId job, Local& local, TimePoint now) {
  auto link = JobdLink::Connect(host_.paths.JobdSocket(host_.node, job), local.record->uid);
  if (link.ok()) {
    local.link.emplace(*std::move(link));
    local.connecting = false;
    local.pause = kFirstPause;
    for (const Order& order : std::exchange(local.unsent, {})) local.link->Queue(order);
    on_event_(JobdConnected{job});
  } else if (now >= local.give_up) {
    Log(LogLevel::kError,
        Named(job) + "the job daemon does not answer; killing it: " + link.status().message());
    Kill(job);
    local.connecting = false;
  } else {
    local.next_try = now + local.pause;
    local.pause = std::min(local.pause * 2, kLongestPause);
  }
}

void LocalJobds::Talk(JobId job, Local& local, TimePoint now) {
  Status talked = local.link->Flush();
  while (talked.ok() && Readable(local.link->fd())) {
    talked = local.link->Read([&](const Report& report) {
      if (const auto* status = std::get_if<JobdStatus>(&report)) {
        on_event_(JobdSaid{*status});
      } else {
        on_report_(report);
      }
    });
  }
  if (talked.ok()) talked = local.link->Flush();
  if (talked.ok()) return;
  local.link.reset();
  if (talked.code() != Code::kUnavailable) Log(LogLevel::kWarning, Named(job) + talked.message());
  local.connecting = true;  // Unless it is dead, which its pidfd says.
  local.next_try = now + kFirstPause;
  local.give_up = now + kPatience;
}

void LocalJobds::CheckExit(JobId job, Local& local) {
  if (!Readable(local.process->pidfd.get())) return;
  waitpid(static_cast<pid_t>(local.record->pid), nullptr, WNOHANG);  // An adopted one is no child.
  Exited(job, local, StatusFromFile(job));
}

void LocalJobds::Exited(JobId job, Local& local, JobdStatus last) {
  local.process.reset();
  local.link.reset();
  local.connecting = false;
  local.unsent.clear();
  on_event_(JobdExited{.job = job, .last = std::move(last)});
}

void LocalJobds::RunRounds(JobId job, Local& local, TimePoint now) {
  local.next_round = now + local.round_pause;
  local.round_pause = std::min(local.round_pause * 2, kLongestRoundPause);
  if (local.containing) {
    if (!ContainRound(*local.record)) return;
    local.containing = false;
    local.round_pause = kRoundPause;
    return on_event_(JobContained{job});
  }
  const Status swept = SweepTraces(host_, job, local.record);
  if (!swept.ok()) {
    // Such as a group that the kernel has not emptied yet.
    Log(LogLevel::kDebug, Named(job) + swept.message());
    return;
  }
  jobs_.erase(job);
  on_event_(JobSwept{job});
}

JobdStatus LocalJobds::StatusFromFile(JobId job) const {
  const auto bytes = ReadFile(host_.paths.JobStatus(host_.node, job));
  if (!bytes.ok()) return {};
  const auto file = DecodeWire<StatusFile>(*bytes);
  return file.ok() ? file->status : JobdStatus{};
}

void LocalJobds::Kill(JobId job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end() || !found->second.process) return;
  syscall(SYS_pidfd_send_signal, found->second.process->pidfd.get(), SIGKILL, nullptr, 0);
}

std::uint32_t LocalJobds::GraceOf(JobId job) const {
  const auto found = jobs_.find(job);
  return found != jobs_.end() && found->second.record ? found->second.record->grace_ms : 0;
}

}  // namespace muster
