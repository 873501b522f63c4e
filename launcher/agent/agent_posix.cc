#include "launcher/agent/agent_posix.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "launcher/agent/local_jobds_posix.h"
#include "launcher/agent/logs_posix.h"
#include "launcher/agent/node_posix.h"
#include "launcher/agent/session_grpc.h"
#include "runtime/base/inbox_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/owner_posix.h"

namespace muster {
namespace {

// What the session's threads leave for the loop.
struct StreamOpened {
  SessionNumber number = 0;
};
struct StreamClosed {
  Status why;
};
using FromSession = std::variant<StreamOpened, StreamClosed, OrderArrived, ExecWish>;

Incarnation RandomIncarnation() {
  const std::string bytes = RandomBytes(sizeof(Incarnation));
  Incarnation incarnation = 0;
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&incarnation));
  return std::max<Incarnation>(incarnation, 1);
}

class Agent {
 public:
  explicit Agent(AgentConfig config)
      : config_(std::move(config)),
        jobds_(
            config_.host, [this](AgentEvent event) { events_.push_back(std::move(event)); },
            [this](const Report& report) { session_->Send(report); }) {}

  Status Start() {
    sigset_t ours;
    sigemptyset(&ours);
    for (const int signal_number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&ours, signal_number);
    // Before any other thread is: they inherit the mask.
    pthread_sigmask(SIG_BLOCK, &ours, nullptr);
    signal(SIGPIPE, SIG_IGN);  // A rank may close its stdin.
    signals_.Reset(signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.valid()) return ErrnoStatus("signalfd", errno);
    // What a dead job daemon leaves becomes ours to reap.
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return ErrnoStatus("prctl", errno);
    RETURN_IF_ERROR(MakeNodeFolders());
    auto credentials = LoadCredentials(config_.host.paths.Ca(), NodeCredentials(config_.host.node));
    if (!credentials.ok()) return std::move(credentials).status();
    Feed(AgentBegan{jobds_.Find()});
    if (geteuid() != 0 || config_.host.allow_root) jobds_.KeepSpare(CallerOwner());
    OpenSession(*std::move(credentials));
    return {};
  }

  int Run() {
    while (!leave_) {
      WaitForSomething();
      TakeSignals();
      for (FromSession& item : inbox_.Take()) {
        std::visit([this](auto& i) { On(i); }, item);
      }
      jobds_.Advance(RealClock().Now());
      while (!events_.empty()) {
        const AgentEvent event = std::move(events_.front());
        events_.pop_front();
        Feed(event);
      }
      if (closing_) Close();
    }
    jobds_.RemoveSpare();
    return 0;
  }

 private:
  Status MakeNodeFolders() {
    const ClusterPaths& paths = config_.host.paths;
    const NodeName& node = config_.host.node;
    const std::string runtime = paths.runtime + "/" + node;
    for (const std::string& folder : {paths.Daemons(node), paths.Logs(), runtime}) {
      RETURN_IF_ERROR(MakeFolders(folder, 0700));
    }
    if (geteuid() != 0) return {};
    // Root's jobs may be anybody's: they pass through, and reach what is theirs.
    for (const std::string& folder : {paths.state, paths.state + "/agents", paths.Agent(node),
                                      paths.Daemons(node), paths.Logs()}) {
      if (chmod(folder.c_str(), 0711) != 0) return ErrnoStatus("chmod " + folder, errno);
    }
    if (chmod(runtime.c_str(), 01733) != 0) return ErrnoStatus("chmod " + runtime, errno);
    return {};
  }

  void OpenSession(Credentials credentials) {
    SessionConfig session;
    session.address = config_.address;
    session.address_file = config_.address_file;
    session.credentials = std::move(credentials);
    session.opened = [this](SessionNumber number) { inbox_.Push(StreamOpened{number}); };
    session.closed = [this](const Status& why) { inbox_.Push(StreamClosed{why}); };
    session.order = [this](Incarnation incarnation, Order order) {
      inbox_.Push(OrderArrived{incarnation, std::move(order)});
    };
    session.open_logs = [paths = config_.host.paths,
                         node = config_.host.node](const LogWish& wish) {
      return OpenLogFiles(paths.JobLogs(wish.job), node, wish);
    };
    session.exec = [this](ExecWish wish) { inbox_.Push(std::move(wish)); };
    session_ = std::make_unique<AgentSession>(std::move(session));
  }

  void WaitForSomething() {
    std::vector<pollfd> waits = {
        {.fd = inbox_.fd(), .events = POLLIN, .revents = 0},
        {.fd = signals_.get(), .events = POLLIN, .revents = 0},
        {.fd = closing_ ? -1 : config_.keeper_fd, .events = POLLIN, .revents = 0}};
    for (const LocalJobds::Interest& interest : jobds_.Interests()) {
      const short events = static_cast<short>(POLLIN | (interest.write ? POLLOUT : 0));
      waits.push_back({.fd = interest.fd, .events = events, .revents = 0});
    }
    TimePoint deadline = jobds_.NextDeadline();
    if (closing_) deadline = std::min(deadline, next_push_);
    int ms = -1;
    if (deadline != TimePoint::max()) {
      const Duration left = std::max(deadline, RealClock().Now()) - RealClock().Now();
      ms = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
    }
    if (poll(waits.data(), waits.size(), std::max(ms, deadline == TimePoint::max() ? -1 : 0)) < 0) {
      return;
    }
    if (waits[2].revents != 0 && !closing_) BeginToClose();
  }

  void TakeSignals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGCHLD) leave_ = true;
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }

  // ---- the session ------------------------------------------------------------------------------

  void On(const StreamOpened& opened) {
    if (closing_) return;
    session_number_ = opened.number;
    Feed(SessionOpened{RandomIncarnation()});
  }
  void On(const StreamClosed& closed) {
    Log(LogLevel::kInfo, "no session with the coordinator: " + closed.why.message());
    if (!closing_) Feed(SessionClosed{});
  }
  void On(const OrderArrived& order) { Feed(order); }
  void On(const ExecWish& wish) { session_->RunExec(wish, jobds_.ExecDoorOf(wish.job)); }

  // ---- the core ---------------------------------------------------------------------------------

  void Feed(const AgentEvent& event) {
    for (const AgentEffect& effect : Step(state_, event)) {
      std::visit([this](const auto& e) { Do(e); }, effect);
    }
  }

  void Do(const SpawnJobd& effect) { jobds_.Spawn(effect.order); }
  void Do(const AttachJobd& effect) { jobds_.Attach(effect.job); }
  void Do(const TellJobd& effect) { jobds_.Tell(effect.job, effect.order); }
  void Do(const ContainJob& effect) { jobds_.Contain(effect.job); }
  void Do(const SweepJob& effect) { jobds_.Sweep(effect.job); }
  void Do(const SendStatus& effect) { session_->Send(effect.status); }
  void Do(const RegisterWith& effect) {
    if (closing_) return;
    Log(LogLevel::kInfo, "registering with " + std::to_string(effect.jobds.size()) + " jobs");
    session_->Register(session_number_, {.node = config_.host.node,
                                         .incarnation = state_.incarnation,
                                         .boot_id = config_.host.boot_id,
                                         .slots = config_.host.slots,
                                         .addresses = NodeAddresses(config_.embedded),
                                         .jobds = effect.jobds});
  }

  // ---- the end, when the keeper is dead ---------------------------------------------------------

  // From now on this agent orders itself about: under an incarnation that nobody else knows, so
  // that no order of the coordinator is obeyed any more.  It still hears what becomes of the jobs.
  void BeginToClose() {
    Log(LogLevel::kInfo, "the keeper is gone: stopping everything");
    closing_ = true;
    Feed(SessionOpened{RandomIncarnation()});
    const TimePoint now = RealClock().Now();
    for (const auto& [job, local] : state_.jobs) {
      end_at_[job] = now + std::chrono::milliseconds(jobds_.GraceOf(job)) + kEndMargin;
    }
    next_push_ = now;
  }

  void Close() {
    const TimePoint now = RealClock().Now();
    leave_ = state_.jobs.empty();
    std::vector<Order> orders;
    next_push_ = TimePoint::max();
    for (const auto& [job, local] : state_.jobs) {
      const MemberPhase phase = local.status.phase;
      const bool left = phase == MemberPhase::kNone || phase >= MemberPhase::kLeft;
      const TimePoint end_at = end_at_[job], kill_at = end_at + kEndMargin;
      if (now >= kill_at) jobds_.Kill(job);
      if (!state_.registered) continue;  // It hears no orders yet: a job daemon is still silent.
      if ((left || now >= end_at) && ended_.insert(job).second) orders.emplace_back(EndJob{job});
      if (!left && asked_.insert(job).second) {
        orders.emplace_back(StopAttempt{job, local.status.attempt, jobds_.GraceOf(job)});
      }
      if (now < kill_at) next_push_ = std::min(next_push_, now < end_at ? end_at : kill_at);
    }
    for (Order& order : orders) Feed(OrderArrived{state_.incarnation, std::move(order)});
  }

  static constexpr Duration kEndMargin = std::chrono::seconds(2);

  const AgentConfig config_;
  AgentState state_;
  std::deque<AgentEvent> events_;
  Inbox<FromSession> inbox_;
  UniqueFd signals_;
  LocalJobds jobds_;
  SessionNumber session_number_ = 0;
  bool leave_ = false;
  bool closing_ = false;
  TimePoint next_push_;
  std::map<JobId, TimePoint> end_at_;
  std::set<JobId> asked_, ended_;
  std::unique_ptr<AgentSession> session_;  // Last: its threads use the inbox.
};

}  // namespace

int AgentMain(AgentConfig config) {
  auto boot_id = BootId();
  if (!boot_id.ok()) {
    Log(LogLevel::kError, boot_id.status().message());
    return 1;
  }
  config.host.boot_id = *boot_id + (config.embedded ? "/" + config.host.node : "");
  // Never destroyed: the process is about to end, and gRPC takes its time.
  auto* agent = new Agent(std::move(config));
  const Status started = agent->Start();
  if (!started.ok()) {
    Log(LogLevel::kError, "the agent cannot start: " + started.message());
    return 1;
  }
  return agent->Run();
}

}  // namespace muster
