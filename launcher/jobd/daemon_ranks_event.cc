#include <fcntl.h>

#include <span>
#include <utility>

#include "launcher/jobd/daemon_event.h"
#include "launcher/jobd/devices_posix.h"
#include "launcher/jobd/machine_posix.h"
#include "launcher/jobd/psk_openssl.h"
#include "launcher/jobd/rank_environment.h"
#include "launcher/jobd/topology_hwloc.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/paths.h"
#include "runtime/base/recorder_file.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr timeval kPollInterval{.tv_sec = 0, .tv_usec = 1000};
// The ranks have MPI up, and a program that ends at once has ended: nobody is in a hurry any more.
constexpr timeval kSpareAfterMpi{.tv_sec = 0, .tv_usec = 300000};
// Open MPI's start-up: the exchange of addresses, then a barrier.
constexpr std::uint32_t kStartFences = 2;
// A spare PMIx helper for a program that is not MPI; for one that is, MaybeMpiUp comes first.
constexpr timeval kSpareAnyhow{.tv_sec = 2, .tv_usec = 0};

std::string Hex(const std::string& bytes) {
  return ToHex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

}  // namespace

void Daemon::Do(const PrepareRanks&) {
  attempt_ = {};
  fences_.Clear();
  services_.Begin(order(), LogsOfJob(arguments_.logs, order().job));
  checkpoints_.Begin(order());
  Cause cause = ranks_.Prepare(order());
  const Status made = MakeFolders(ShmFolder(order().attempt));
  if (cause.kind == CauseKind::kNone && !made.ok()) {
    cause = {.kind = CauseKind::kLaunch, .node = arguments_.node, .text = made.message()};
  }
  if (cause.kind == CauseKind::kNone && IsHead()) cause = MeetHere();
  if (cause.kind != CauseKind::kNone) return Feed(LocalFailed{cause});
  attempt_.preparing = true;
  attempt_.prolog = ScriptOf(order(), "prolog", order().launch.prolog, arguments_.logs);
  attempt_.epilog = ScriptOf(order(), "epilog", order().launch.epilog, arguments_.logs);
  attempt_.ranks_here = RanksOnThisMachine(order());
  SeatRanks();
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

// Which slots of which machine the attempt has: nodes that share one (an embedded cluster) count
// on.
void Daemon::SeatRanks() {
  const Host& host = order().hosts[order().host_index];
  SeatWish wish{.bind = order().launch.bind,
                .first_rank = host.first_rank,
                .slots = host.slots,
                .total = static_cast<std::uint32_t>(ParseUnsigned(arguments_.slots).value_or(1))};
  if (attempt_.ranks_here > host.slots.size()) {
    wish.total = attempt_.ranks_here;
    for (std::size_t i = 0; i < host.slots.size(); ++i) {
      wish.slots[i] = (host.first_rank + static_cast<std::uint32_t>(i)) % wish.total;
    }
  }
  Machine machine{.gpus = ReadGpus(), .nics = ReadNics()};
  attempt_.gpus = static_cast<std::uint32_t>(machine.gpus.size());
  // Looking at the cores takes a few milliseconds.
  const bool matters = wish.bind == Bind::kAuto ? CountNumaNodes() > 1 : wish.bind != Bind::kNone;
  if (auto cores = matters ? ReadCores() : std::vector<Core>(); cores.ok()) {
    machine.cores = *std::move(cores);
  } else {
    Log(LogLevel::kWarning, "ranks are not bound: " + cores.status().message());
  }
  attempt_.seating = PlanSeats(machine, wish);
  if (!attempt_.seating.note.empty()) Log(LogLevel::kWarning, attempt_.seating.note);
  Seating& shown = attempt_.shown;
  shown = {.cpus = UsableCores(), .note = attempt_.seating.note};
  for (std::size_t i = 0; i < attempt_.seating.seats.size(); ++i) {
    shown.seats.push_back(attempt_.seating.seats[i].seat);
    shown.seats.back().slot = host.slots[i];
  }
}

// The head's ranks may listen at these; the others learn them before they start theirs.
Cause Daemon::MeetHere() {
  const auto range = ParsePortRange(arguments_.ports);
  Result<std::vector<PortLease>> leases = ClaimPorts(range.ok() ? *range : PortRange{}, 2);
  if (!leases.ok()) {
    return {.kind = CauseKind::kLaunch,
            .node = arguments_.node,
            .text = "node " + arguments_.node + ": " + leases.status().message()};
  }
  attempt_.leases = *std::move(leases);
  attempt_.master_port = attempt_.leases[0].port;
  attempt_.next_port = attempt_.leases[1].port;
  return {};
}

Meeting Daemon::MeetingPlace() const {
  const bool one_host = order().hosts.size() == 1;
  return {.address = one_host ? "127.0.0.1" : peers_.head_address(),
          .port = attempt_.master_port,
          .next_port = attempt_.next_port,
          .interface = one_host ? "lo" : InterfaceOf(peers_.own_address())};
}

std::vector<std::string> Daemon::EnvironmentOf(std::uint32_t local_rank, const std::string& token,
                                               const Meeting& meeting) const {
  return RankEnvironment(order(), local_rank,
                         {.cores = UsableCores(),
                          .ranks_here = attempt_.ranks_here,
                          .meeting = meeting,
                          .bound_cores = attempt_.seating.seats[local_rank].cores,
                          .gpus = attempt_.gpus,
                          .cluster_cookie = GetEnv("MUSTER_CLUSTER_COOKIE").value_or(""),
                          .job_cookie = arguments_.cookie,
                          .link_token = token,
                          .link_fd = kInheritedFd,
                          .mpi_folder = pmix_.folder(),
                          .shm_folder = ShmFolder(order().attempt),
                          .pmix = (*attempt_.pmix)[local_rank].entries});
}

void Daemon::Do(const ForkRanks&) {
  const Meeting meeting = MeetingPlace();
  std::vector<std::vector<std::string>> environments;
  std::vector<UniqueFd> links;
  const auto count = static_cast<std::uint32_t>(order().hosts[order().host_index].slots.size());
  for (std::uint32_t local = 0; local < count; ++local) {
    const std::string token = Hex(RandomBytes(8));
    environments.push_back(EnvironmentOf(local, token, meeting));
    Result<UniqueFd> link = services_.Open(local, token);
    links.push_back(link.ok() ? *std::move(link) : UniqueFd());
  }
  std::vector<std::vector<std::uint32_t>> cpus;
  for (const SeatPlan& plan : attempt_.seating.seats) cpus.push_back(plan.cpus);
  const std::vector<LocalRanks::Exit> unborn = ranks_.Fork(order(), environments, links, cpus);
  forked_ = order();
  TellMark(Mark::kRanksForked);
  std::map<std::uint32_t, pid_t> pids;
  for (std::uint32_t local = 0; local < count; ++local) pids[local] = ranks_.PidOf(local);
  mpi_watch_.Begin(pids);
  evtimer_add(spare_, &kSpareAnyhow);
  for (const LocalRanks::Exit& exit : unborn) Feed(RankExited{exit.local_rank, exit.cause});
}

// Waits for what the ranks left behind: lines on their way to the logs, and processes once they are
// to go.
void Daemon::Poll() {
  if (scripts_.running()) return;  // Its end leads here.
  const bool may_leave_processes = !attempt_.last_exits.empty() && !attempt_.killing;
  if (may_leave_processes ? !ranks_.LogsWhole() : !ranks_.Gone(Ours())) {
    evtimer_add(poll_, &kPollInterval);
    return;
  }
  for (const LocalRanks::Exit& exit : std::exchange(attempt_.last_exits, {})) {
    Feed(RankExited{exit.local_rank, exit.cause, exit.by_us});
  }
  if (may_leave_processes) return;
  if (StartScript(std::exchange(epilog_, {}))) return;
  MaybePrepared();
}

void Daemon::Registered(const pmix::Registered& registered) {
  attempt_.pmix = registered.ranks;
  MaybePrepared();
}

void Daemon::MaybePrepared() {
  if (!attempt_.preparing || !attempt_.pmix || scripts_.running()) return;
  if (!ranks_.Gone(Ours())) {
    evtimer_add(poll_, &kPollInterval);
    return;
  }
  if (StartScript(std::exchange(attempt_.prolog, {}))) return;
  attempt_.preparing = false;
  Feed(LocalPrepared{attempt_.shown});
}

// False: there is none, or it could not be started.
bool Daemon::StartScript(NodeScript script) {
  if (script.text.empty()) return false;
  const bool prolog = script.name == "prolog";
  const timeval grace{.tv_sec = order().grace_ms / 1000,
                      .tv_usec = static_cast<suseconds_t>(order().grace_ms % 1000) * 1000};
  if (!prolog) evtimer_add(epilog_max_, &grace);
  const Cause cause = scripts_.Start(std::move(script));
  if (cause.kind != CauseKind::kNone)
    ScriptEnded({.name = prolog ? "prolog" : "epilog", .cause = cause});
  return cause.kind == CauseKind::kNone || prolog;
}

// It has the job's grace, so that it cannot hold the node for ever.
void Daemon::OnEpilogMax(evutil_socket_t, short, void* self) {
  static_cast<Daemon*>(self)->scripts_.Kill();
}

void Daemon::ScriptEnded(const NodeScripts::End& end) {
  event_del(epilog_max_);
  const bool failed = end.cause.kind != CauseKind::kNone;
  if (failed) Log(LogLevel::kWarning, end.cause.text);
  if (failed && end.name == "prolog" && attempt_.preparing) return Feed(LocalFailed{end.cause});
  if (failed) {
    agent_.Send(JobProgress{
        .job = state_.status.job, .attempt = state_.status.attempt, .note = end.cause.text});
  }
  if (end.name == "epilog" && std::exchange(end_after_epilog_, false)) return Do(EndProcess{});
  Poll();
}

void Daemon::RankMet(std::uint32_t rank) {
  attempt_.met.insert(rank);
  mpi_watch_.Connected(rank - order().hosts[order().host_index].first_rank);
  MaybeMpiUp();
}

// With one host libpmix settles the fences by itself: that all have come is what can be seen.
void Daemon::MaybeMpiUp() {
  if (attempt_.mpi_up || attempt_.met.size() < order().hosts[order().host_index].slots.size() ||
      (order().hosts.size() > 1 && attempt_.fences < kStartFences)) {
    return;
  }
  attempt_.mpi_up = true;
  TellMark(Mark::kMpiUp);
  evtimer_add(spare_, &kSpareAfterMpi);
}

void Daemon::OnSpare(evutil_socket_t, short, void* self) {
  static_cast<Daemon*>(self)->pmix_.StartSpare();
}

void Daemon::RankAlone(std::uint32_t local_rank, const std::string& said) {
  if (WorldSize(order()) == 1) return;  // It is alone.
  const std::uint32_t rank = order().hosts[order().host_index].first_rank + local_rank;
  Feed(LocalFailed{
      {.kind = CauseKind::kSingleton,
       .rank = static_cast<std::int32_t>(rank),
       .node = arguments_.node,
       .slot = order().hosts[order().host_index].slots[local_rank],
       .text = "rank " + std::to_string(rank) +
               " started MPI but never met muster's PMIx server: "
               "it took itself for a job of one rank. The variables PMIX_* and JSM_JSRUN_PORT must "
               "reach the program (no mpirun, no env -i around it), and its MPI must be Open MPI "
               "4.1 or newer with PMIx" +
               (said.empty() ? "" : ". It said: " + said),
       .wall_us = WallMicroseconds()}});
}

void Daemon::Aborted(const pmix::RankAborted& aborted) {
  const Host& host = order().hosts[order().host_index];
  const std::uint32_t local_rank = aborted.rank - host.first_rank;
  Cause cause = {.kind = CauseKind::kAborted,
                 .rank = static_cast<std::int32_t>(aborted.rank),
                 .node = arguments_.node,
                 .code = aborted.status,
                 .text = "MPI_Abort with status " + std::to_string(aborted.status) +
                         (aborted.text.empty() ? "" : ": " + aborted.text),
                 .wall_us = WallMicroseconds()};
  if (local_rank < host.slots.size()) cause.slot = host.slots[local_rank];
  // Open MPI aborts a rank when its peer is gone.
  cause.consequence = ranks_.BlamesPeer(local_rank);
  Feed(LocalFailed{std::move(cause)});
}

std::uint64_t Daemon::DumpRecorders() {
  std::vector<RecorderDump::Ring> rings;
  if (!forked_) return dump_.Write({});
  const Host& host = forked_->hosts[forked_->host_index];
  for (std::uint32_t local = 0; local < host.slots.size(); ++local) {
    const auto memory = services_.memory().Find(RecorderMemory(local));
    if (!memory.ok()) continue;  // This rank's program has none.
    rings.push_back({.memory = UniqueFd(fcntl(memory->fd, F_DUPFD_CLOEXEC, 0)),
                     .bytes = memory->bytes,
                     .path = RecorderFile(LogsOfJob(arguments_.logs, forked_->job),
                                          forked_->attempt, host.first_rank + local)});
  }
  return dump_.Write(std::move(rings));
}

void Daemon::OnDumped(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<Daemon*>(pointer);
  self->exec_.Dumped(self->dump_.finished());
}

Result<Spawn> Daemon::BesideRank(const ExecAsked& asked) const {
  const auto absent = [&](const std::string& why) {
    return Status(Code::kInvalid, "rank " + std::to_string(asked.rank) + " " + why);
  };
  if (!InAttempt(asked.attempt)) return absent("is of an attempt that is over");
  const Host& host = order().hosts[order().host_index];
  const std::uint32_t local_rank = asked.rank - host.first_rank;
  if (local_rank >= host.slots.size()) return absent("is not on this node");
  return ranks_.Beside(local_rank, asked.argv);
}

Result<UniqueFd> Daemon::InputOfRank0(const ExecAsked& asked) {
  if (!InAttempt(asked.attempt)) return Status(Code::kAborted, "rank 0's attempt is over");
  if (ranks_.input() == nullptr) return Status(Code::kInvalid, "rank 0 takes no input here");
  return ranks_.input()->Take();
}

}  // namespace muster
