#include "launcher/agent/local_jobds_posix.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/agent/node_posix.h"
#include "runtime/base/containment_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/status_file.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

std::string Named(JobId job) {
  return "job=" + std::to_string(job) + " ";
}

}  // namespace

LocalJobds::LocalJobds(JobdHost host, std::function<void(AgentEvent)> on_event,
                       std::function<void(const Report&)> on_report)
    : host_(std::move(host)),
      on_event_(std::move(on_event)),
      on_report_(std::move(on_report)),
      spare_(host_) {}

std::vector<JobId> LocalJobds::Find() {
  std::vector<JobId> adopted;
  std::set<std::string> known;
  for (FoundDaemon& found : FindDaemons(host_)) {
    const bool counts = found.record && found.record->job != 0;
    // Twice the same job: the older one was contained before the younger was started.
    if (counts && (OpenJobd(*found.record) || !jobs_.contains(found.record->job))) {
      known.insert(found.record->cookie);
      const JobId job = found.record->job;
      if (jobs_.contains(job)) RemoveDaemon(host_, {jobs_[job].record->id, jobs_[job].record});
      if (!jobs_.contains(job)) adopted.push_back(job);
      jobs_[job].record = std::move(found.record);
      continue;
    }
    // A spare, of another boot, or cut short before the daemon was let loose: nothing of it counts.
    RemoveDaemon(host_, found);
  }
  KillOrphans(known);
  return adopted;
}

void LocalJobds::KillOrphans(const std::set<std::string>& known_cookies) {
  constexpr int kMostRounds = 1000;
  const std::string prefix = host_.paths.JobCookie(host_.node, "");
  for (int round = 0; round < kMostRounds; ++round) {
    bool clean = true;
    for (const Carrier& carrier : JobCarriers(prefix)) {
      if (known_cookies.contains(carrier.cookie) || !StartOf(carrier.pid)) continue;
      clean = false;
      Log(LogLevel::kWarning, "pid=" + std::to_string(carrier.pid) + " carries " + carrier.cookie +
                                  ", of which there is no record: killing it");
      kill(static_cast<pid_t>(carrier.pid), SIGKILL);
    }
    if (clean) break;
    poll(nullptr, 0, 5);  // For the kernel to end what was killed.
  }
  for (const std::string& group : GroupsNamed("muster-" + prefix)) {
    if (known_cookies.contains(group.substr(group.rfind('/') + 8))) continue;  // After "muster-".
    const Status removed = RemoveGroup(group);
    if (!removed.ok()) Log(LogLevel::kWarning, removed.message());
  }
}

void LocalJobds::KeepSpare(const Owner& owner) {
  spare_.Want(owner, TimePoint::min());
}

// ---- effects ------------------------------------------------------------------------------------

void LocalJobds::Spawn(const StartAttempt& order) {
  Local& local = jobs_[order.job];
  if (local.record) RemoveDaemon(host_, {local.record->id, local.record});  // A dead one of before.
  local = Local();
  const TimePoint now = RealClock().Now();
  const Status spawned = SpawnOne(order, local, now);
  spare_.Want(order.owner, now + kSpareAfterStart);
  if (spawned.ok()) return Tell(order.job, order);
  Log(LogLevel::kError, Named(order.job) + spawned.message());
  local.failed = JobdStatus{.job = order.job, .attempt = order.attempt};
  local.failed->cause = {.kind = CauseKind::kLaunch, .node = host_.node, .text = spawned.message()};
}

Status LocalJobds::SpawnOne(const StartAttempt& order, Local& local, TimePoint now) {
  std::optional<SpareJobd::Taken> taken = spare_.Take(order.owner);
  if (!taken) {
    Result<JobdProcess> started = StartJobd(host_, order.owner);
    if (!started.ok()) return std::move(started).status();
    taken.emplace(SpareJobd::Taken{*std::move(started), std::nullopt});
  }
  if (Status given = GiveJob(host_, order, taken->process.record); !given.ok()) {
    RemoveDaemon(host_, {taken->process.record.id, taken->process.record});
    return given;
  }
  Adopt(local, std::move(taken->process), now);
  if (!taken->link) return {};
  local.link.emplace(*std::move(taken->link));
  local.connecting = false;
  local.connected = true;
  return {};
}

void LocalJobds::Attach(JobId job) {
  Local& local = jobs_[job];
  local.attached = true;
  auto process = local.record ? OpenJobd(*local.record) : std::nullopt;
  if (process) return Adopt(local, *std::move(process), RealClock().Now());
  local.failed = StatusFromFile(local.record);
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
  for (const int fd : spare_.Interests()) interests.push_back({.fd = fd});
  for (const auto& [job, local] : jobs_) {
    if (local.process) interests.push_back({.fd = local.process->pidfd.get()});
    if (local.link) interests.push_back({local.link->fd(), local.link->wants_to_write()});
  }
  return interests;
}

TimePoint LocalJobds::NextDeadline() const {
  TimePoint next = spare_.NextDeadline();
  for (const auto& [job, local] : jobs_) {
    if (local.failed || local.connected) return TimePoint::min();
    if (local.connecting) next = std::min(next, local.next_try);
    if (local.containing || local.sweeping) next = std::min(next, local.next_round);
  }
  return next;
}

void LocalJobds::Advance(TimePoint now) {
  spare_.Advance(now);
  std::vector<JobId> all;
  for (const auto& [job, local] : jobs_) all.push_back(job);
  // An event may add jobs, or end one.
  for (const JobId job : all) {
    const auto found = jobs_.find(job);
    if (found == jobs_.end()) continue;
    Local& local = found->second;
    if (local.failed) Exited(job, local, *std::exchange(local.failed, std::nullopt));
    if (std::exchange(local.connected, false)) on_event_(JobdConnected{job});
    if (local.connecting && local.next_try <= now) Connect(job, local, now);
    if (local.link) Talk(job, local, now);
    if (local.process) CheckExit(job, local);
    if ((local.containing || local.sweeping) && local.next_round <= now) {
      RunRounds(job, local, now);
    }
  }
}

void LocalJobds::Connect(JobId job, Local& local, TimePoint now) {
  auto link =
      JobdLink::Connect(host_.paths.DaemonSocket(host_.node, local.record->id), local.record->uid);
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
        JobdStatus said = *status;
        if (said.job == 0 && !local.attached) return;  // A spare; its order is on the way.
        if (said.job == 0) said.job = job;             // Its first order was lost with an agent.
        on_event_(JobdSaid{std::move(said)});
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
  Exited(job, local, StatusFromFile(local.record));
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
    if (local.record && !ContainRound(*local.record)) return;
    local.containing = false;
    local.round_pause = kRoundPause;
    return on_event_(JobContained{job});
  }
  Status swept;
  if (local.record) swept = SweepTraces(host_, local.record->id, local.record->group);
  if (!swept.ok()) {
    // Such as a group that the kernel has not emptied yet.
    Log(LogLevel::kDebug, Named(job) + swept.message());
    return;
  }
  jobs_.erase(job);
  spare_.Hurry(now + kSpareAfterEnd);
  on_event_(JobSwept{job});
}

JobdStatus LocalJobds::StatusFromFile(const std::optional<JobdRecord>& record) const {
  if (!record) return {};
  constexpr std::size_t kLargest = 16 << 20;
  auto bytes = ReadForeignFile(LiveStatus(host_.paths.DaemonShm(host_.node, record->id)), kLargest);
  // It has swept its traces: this it left at its end.
  if (!bytes.ok()) {
    bytes = ReadForeignFile(host_.paths.DaemonStatus(host_.node, record->id), kLargest);
  }
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

Result<ExecDoorPlace> LocalJobds::ExecDoorOf(JobId job) const {
  const auto found = jobs_.find(job);
  if (found == jobs_.end() || !found->second.record) {
    return Status(Code::kNotFound, "the job is not on node " + host_.node + " any more");
  }
  const JobdRecord& record = *found->second.record;
  return ExecDoorPlace{ExecSocket(host_.paths.DaemonSocket(host_.node, record.id)), record.uid};
}

}  // namespace muster
