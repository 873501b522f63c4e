#include "launcher/jobd/daemon_event.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>

#include "launcher/jobd/machine_posix.h"
#include "launcher/jobd/psk_openssl.h"
#include "launcher/jobd/rank_environment.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr timeval kPollInterval{.tv_sec = 0, .tv_usec = 1000};
constexpr timeval kIdleMax{.tv_sec = 60, .tv_usec = 0};
// The head tells its ports as a key that no rank can set.
const std::string kMasterPort("\0master_port", 12);

Instance NewInstance() {
  const std::string bytes = RandomBytes(sizeof(Instance));
  Instance instance = 0;
  std::memcpy(&instance, bytes.data(), sizeof instance);
  return instance | 1U;  // 0 means none.
}

const char* Name(MemberPhase phase) {
  static constexpr const char* kNames[] = {"none",     "starting", "ready", "running", "finished",
                                           "stopping", "left",     "dead",  "gone"};
  return kNames[static_cast<std::size_t>(phase)];
}

std::string Told(const Cause& cause) {
  if (cause.kind == CauseKind::kNone) return "";
  return " cause=" + std::to_string(static_cast<int>(cause.kind)) +
         " code=" + std::to_string(cause.code) + " rank=" + std::to_string(cause.rank) +
         " node=" + cause.node + " " + cause.text;
}

}  // namespace

Daemon::Daemon(event_base* base, const JobdArguments& arguments)
    : base_(base),
      arguments_(arguments),
      removal_(base),
      scripts_(arguments.node),
      ranks_(arguments.node, arguments.logs, arguments.cgroup),
      agent_(base, {.attached = [this] { Attached(); },
                    .detached = [this] { Detached(); },
                    .order = [this](const Order& order) { Ordered(order); }}),
      peers_(base,
             {.follower_connected =
                  [this](std::uint32_t host, AttemptNumber attempt) {
                    Feed(FollowerConnected{host, attempt});
                  },
              .head_connected = [this] { Feed(HeadConnected{}); },
              .head_unreachable = [this](const std::string& why) { Feed(HeadUnreachable{why}); },
              .gone =
                  [this](std::uint32_t host, AttemptNumber attempt) {
                    Feed(PeerGone{host, attempt});
                  },
              .said = [this](std::uint32_t host,
                             const peer::Message& message) { Heard(host, message); }}),
      pmix_(
          base, arguments.shm, arguments.node,
          {.registered = [this](const pmix::Registered& all) { Registered(all); },
           .lost =
               [this](const std::string& why) {
                 Feed(LocalFailed{
                     {.kind = CauseKind::kPmixLost, .node = arguments_.node, .text = why}});
               },
           .fence =
               [this](const pmix::FenceAsked& fence) {
                 const peer::FenceUp up{state_.status.attempt, fence.key, fence.hosts, fence.blob};
                 IsHead() ? BringFence(0, up) : peers_.Send(0, up);
               },
           .connected = [this](std::uint32_t rank) { RankMet(rank); },
           .aborted = [this](const pmix::RankAborted& aborted) { Aborted(aborted); },
           .unused = [this](const std::string& folder) { removal_.Add(folder); }}),
      services_(
          base,
          {.spread = [this](const std::string& key,
                            const std::string& value) { SpreadKey(key, value); },
           .progress = [this](const JobProgress& news) { agent_.Send(news); },
           .mark = [this](Mark mark) { TellMark(mark); },
           .staged = [this](
                         std::uint32_t local_rank,
                         const link::Staged& staged) { checkpoints_.Staged(local_rank, staged); },
           .load = [this](std::uint32_t local_rank) { checkpoints_.Load(local_rank); },
           .open_checkpoint = [this](std::uint32_t local_rank) { checkpoints_.Open(local_rank); },
           .read_blocks =
               [this](std::uint32_t local_rank, const link::ReadBlocks& read) {
                 checkpoints_.Read(local_rank, read);
               },
           .meet = [this](std::uint32_t local_rank,
                          const link::ToJobd& message) { checkpoints_.Meet(local_rank, message); },
           .reads =
               [this](std::uint32_t local_rank, const std::string& memory) {
                 return checkpoints_.Reads(local_rank, memory);
               }}),
      checkpoints_(base, services_,
                   {.send =
                        [this](std::uint32_t host, AttemptNumber attempt, const std::string& body) {
                          peers_.Send(host, peer::ForMover{attempt, body});
                        },
                    .failed =
                        [this](Cause cause) {
                          cause.node = arguments_.node;
                          Feed(LocalFailed{std::move(cause)});
                        },
                    .settled = [this] { Feed(MoverSettled{}); }}),
      mpi_watch_(base, [this](std::uint32_t local_rank) { RankAlone(local_rank, ""); }),
      exec_(
          base, [this](const ExecAsked& asked) { return BesideRank(asked); },
          {.take = [this](const ExecAsked& asked) { return InputOfRank0(asked); },
           .end =
               [this](AttemptNumber attempt) {
                 if (InAttempt(attempt) && ranks_.input() != nullptr) ranks_.input()->End();
               }},
          [this] { return DumpRecorders(); }),
      child_(evsignal_new(base, SIGCHLD, OnChild, this)),
      deadline_(evtimer_new(base, OnDeadline, this)),
      poll_(evtimer_new(base, OnPoll, this)),
      spare_(evtimer_new(base, OnSpare, this)),
      idle_(evtimer_new(base, OnIdle, this)),
      epilog_max_(evtimer_new(base, OnEpilogMax, this)),
      log_news_(event_new(base, ranks_.log_news().fd(), EV_READ | EV_PERSIST, OnLogNews, this)),
      dumped_(event_new(base, dump_.fd(), EV_READ | EV_PERSIST, OnDumped, this)) {
  state_.status.instance = NewInstance();
}

Daemon::~Daemon() {
  for (event* item : {child_, deadline_, poll_, spare_, idle_, epilog_max_, log_news_, dumped_}) {
    event_free(item);
  }
}

Status Daemon::Begin() {
  CHECK(event_add(child_, nullptr) == 0);
  CHECK(evtimer_add(idle_, &kIdleMax) == 0);
  CHECK(event_add(log_news_, nullptr) == 0);
  CHECK(event_add(dumped_, nullptr) == 0);
  const Result<std::uint16_t> port = peers_.Listen();
  if (!port.ok()) return port.status();
  state_.status.port = *port;
  RETURN_IF_ERROR(agent_.Listen(arguments_.socket));
  RETURN_IF_ERROR(exec_.Listen(ExecSocket(arguments_.socket)));
  pmix_.StartSpare();
  return {};
}

// ---- the core -----------------------------------------------------------------------------------

void Daemon::Feed(JobdEvent event) {
  queue_.push_back(std::move(event));
  if (stepping_) return;
  stepping_ = true;
  while (!queue_.empty()) {
    const JobdEvent next = std::move(queue_.front());
    queue_.pop_front();
    Turn(next);
  }
  stepping_ = false;
  ArmDeadline();
}

void Daemon::Turn(const JobdEvent& event) {
  const JobdStatus before = state_.status;
  const std::vector<JobdEffect> effects = Step(state_, event, RealClock().Now());
  const JobdStatus& now = state_.status;
  const bool here =
      std::holds_alternative<RankExited>(event) || std::holds_alternative<LocalFailed>(event);
  if (here && before.cause.kind == CauseKind::kNone && now.cause.kind != CauseKind::kNone) {
    TellMark(Mark::kFailureSeen);
  }
  if (now.phase != before.phase || now.attempt != before.attempt) {
    Log(LogLevel::kInfo, "job=" + std::to_string(now.job) +
                             " attempt=" + std::to_string(now.attempt) +
                             " phase=" + Name(now.phase) + Told(now.cause));
  }
  if (before.ranks_alive > 0 && now.ranks_alive == 0) {
    TellMark(Mark::kAllGone);
    DumpRecorders();
  }
  for (const JobdEffect& effect : effects) {
    std::visit([this](const auto& e) { Do(e); }, effect);
  }
}

void Daemon::ArmDeadline() {
  const TimePoint next = NextDeadline(state_);
  if (next == TimePoint::max()) {
    event_del(deadline_);
    return;
  }
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      std::max(next - RealClock().Now(), Duration::zero()));
  const timeval wait{.tv_sec = left.count() / 1000000, .tv_usec = left.count() % 1000000};
  evtimer_add(deadline_, &wait);
}

void Daemon::OnDeadline(evutil_socket_t, short, void* self) {
  static_cast<Daemon*>(self)->Feed(TimePassed{});
}

// ---- what happened ------------------------------------------------------------------------------

// An agent that comes later than the first does not know of a spare.
void Daemon::Attached() {
  event_del(idle_);
  if (IsSpare() && had_agent_) return Do(EndProcess{});
  had_agent_ = true;
  // An agent that found it in a record takes it for a job's: its order never left.
  IsSpare() ? agent_.Send(state_.status) : Do(TellAgent{});
}

void Daemon::Detached() {
  if (IsSpare()) Do(EndProcess{});
}

void Daemon::Ordered(const Order& order) {
  if (const auto* start = std::get_if<StartAttempt>(&order)) {
    const bool sane =
        start->host_index < start->hosts.size() && !start->hosts[start->host_index].slots.empty();
    const Status keyed = peers_.SetKey(start->job, start->job_key);
    const bool mine = IsSpare() || start->job == state_.status.job;
    if (!sane || !keyed.ok() || start->job == 0 || !mine) {
      return Log(LogLevel::kError, "an order to start makes no sense: " + keyed.message());
    }
    if (IsSpare()) SetLogProcess("jobd " + arguments_.node + "/" + std::to_string(start->job));
    state_.status.job = start->job;
  }
  Feed(OrderCame{order});
}

void Daemon::OnIdle(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<Daemon*>(pointer);
  Log(LogLevel::kWarning, "no agent came; ending");
  self->Do(EndProcess{});
}

void Daemon::OnChild(evutil_socket_t, short, void* self) {
  static_cast<Daemon*>(self)->Reap();
}

void Daemon::Reap() {
  for (;;) {
    int wait_status = 0;
    rusage usage{};
    const pid_t pid = wait4(-1, &wait_status, WNOHANG, &usage);
    if (pid <= 0) return;
    if (pmix_.Reaped(pid)) continue;
    if (checkpoints_.Reaped(pid)) continue;
    if (const auto end = scripts_.Reaped(pid, wait_status)) {
      ScriptEnded(*end);
      continue;
    }
    if (exec_.Reaped(pid, wait_status)) continue;
    // The rest are orphans that a rank left: jobd is their subreaper.
    const auto peak_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) << 10;
    if (const auto exit = ranks_.Reaped(pid, wait_status, peak_bytes)) Exited(*exit);
  }
}

void Daemon::Exited(const LocalRanks::Exit& exit) {
  services_.HearLast(exit.local_rank);
  checkpoints_.RankGone(exit.local_rank);
  const bool alone = mpi_watch_.Exited(exit.local_rank);
  if (alone && exit.cause.kind <= CauseKind::kExit) RankAlone(exit.local_rank, exit.cause.text);
  if (ranks_.alive() == 0) {
    attempt_.last_exits.push_back(exit);
    return Poll();
  }
  Feed(RankExited{exit.local_rank, exit.cause, exit.by_us});
}

void Daemon::OnPoll(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<Daemon*>(pointer);
  if (!self->ending_) return self->Poll();
  if (self->agent_.flushed() && self->peers_.flushed()) event_base_loopbreak(self->base_);
  evtimer_add(self->poll_, &kPollInterval);
}

bool Daemon::InAttempt(AttemptNumber attempt) const {
  return state_.order && attempt == state_.status.attempt &&
         state_.status.phase != MemberPhase::kLeft;
}

void Daemon::Heard(std::uint32_t from, const peer::Message& message) {
  if (const auto* up = std::get_if<peer::FenceUp>(&message)) {
    if (InAttempt(up->attempt) && IsHead()) BringFence(from, *up);
  } else if (const auto* down = std::get_if<peer::FenceDown>(&message)) {
    if (InAttempt(down->attempt) && !IsHead()) FinishFence(down->key, down->blob);
  } else if (const auto* update = std::get_if<peer::KvUpdate>(&message)) {
    if (InAttempt(update->attempt)) LearnKey(*update);
  } else if (const auto* relayed = std::get_if<peer::ForMover>(&message)) {
    if (InAttempt(relayed->attempt)) checkpoints_.Hear(from, relayed->body);
  } else {
    const auto* ready = std::get_if<peer::Ready>(&message);
    if (ready != nullptr && InAttempt(ready->attempt)) {
      peers_.Send(from, peer::KvUpdate{ready->attempt, kMasterPort,
                                       std::to_string(attempt_.master_port) + " " +
                                           std::to_string(attempt_.next_port)});
      checkpoints_.Welcome(from);
    }
    Feed(PeerSaid{from, message});
  }
}

void Daemon::BringFence(std::uint32_t from, const peer::FenceUp& fence) {
  const auto complete = fences_.Bring(from, fence.key, fence.hosts, fence.blob);
  if (!complete) return;
  for (const std::uint32_t host : complete->hosts) {
    if (host != 0) peers_.Send(host, peer::FenceDown{fence.attempt, fence.key, complete->blob});
  }
  if (complete->hosts.front() == 0) FinishFence(fence.key, complete->blob);
}

void Daemon::FinishFence(const std::string& key, const std::string& blob) {
  pmix_.FinishFence({.key = key, .blob = blob});
  ++attempt_.fences;
  MaybeMpiUp();
}

void Daemon::LearnKey(const peer::KvUpdate& update) {
  if (IsHead()) return SpreadKey(update.key, update.value);
  if (update.key == kMasterPort) {
    const std::vector<std::string> ports = Split(update.value, ' ');
    const auto number = [](const std::string& text) {
      return static_cast<std::uint16_t>(ParseUnsigned(text).value_or(0));
    };
    attempt_.master_port = number(ports.front());
    attempt_.next_port = number(ports.back());
  } else {
    services_.Learn(update.key, update.value);
  }
}

// All nodes learn a key in the head's order, so that they agree on what it is.
void Daemon::SpreadKey(const std::string& key, const std::string& value) {
  const peer::KvUpdate update{state_.status.attempt, key, value};
  if (!IsHead()) return peers_.Send(0, update);
  for (std::uint32_t host = 1; host < order().hosts.size(); ++host) peers_.Send(host, update);
  services_.Learn(key, value);
}

std::set<pid_t> Daemon::Ours() const {
  std::set<pid_t> pids = pmix_.pids();
  pids.merge(checkpoints_.pids());
  if (scripts_.running()) pids.insert(scripts_.pid());
  return pids;
}

}  // namespace muster
