#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <thread>

#include "launcher/cli/caller_posix.h"
#include "launcher/cli/cli_posix.h"
#include "launcher/cli/embedded_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/input_posix.h"
#include "launcher/cli/printer_posix.h"
#include "launcher/cli/render.h"
#include "launcher/cli/request.h"
#include "launcher/cli/terminal_posix.h"
#include "launcher/cli/verdict.h"
#include "launcher/cli/wish_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/inbox_posix.h"
#include "runtime/base/owner_posix.h"
#include "runtime/base/signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// What other threads tell the run's own.
struct Submitted {
  Result<JobId> job;
};
struct WatchEnded {
  Status how;
};
struct LogsEnded {
  Status how;
};
struct KeeperFailed {
  Status why;
};
struct OutputClosed {};  // Nobody reads stdout or stderr any more.
using RunNews = std::variant<Submitted, JobView, WatchEnded, LogsEnded, KeeperFailed, OutputClosed>;

constexpr std::size_t kKeptPrivateLogs = 5;
constexpr Duration kStartPatience = std::chrono::seconds(30);
constexpr int kLookAgainMs = 10;
constexpr Duration kStopPatience = std::chrono::seconds(60);
constexpr Duration kLogPatience = std::chrono::seconds(10);
constexpr int kExitBrokenPipe = 128 + SIGPIPE;

class Run {
 public:
  explicit Run(const RunCommand& command) : command_(command) {}

  int CarryOut() {
    sigset_t ours;
    sigemptyset(&ours);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
      sigaddset(&ours, number);
    }
    pthread_sigmask(SIG_BLOCK, &ours, nullptr);
    signal(SIGPIPE, SIG_IGN);
    signals_.Reset(signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
    const Status looked_up = LookUp(command_);
    if (!looked_up.ok()) return End(Fail(looked_up, command_.common.json));
    auto config = Cluster();
    TakeSignals();
    if (stops_asked_ > 0) return End(exit_after_stop_);
    if (!config.ok()) return End(Fail(config.status(), command_.common.json));
    auto program = CallerProgram(command_.job.command);
    if (!program.ok()) return End(Fail(program.status(), command_.common.json));
    client_.emplace(*std::move(config));
    const Status settled = SettleOnCluster();
    if (!settled.ok()) return End(Fail(settled, command_.common.json));
    request_ = RequestOf(command_.job, Adjusted(*std::move(program), command_.job));
    const std::string key = RandomBytes(16);
    request_.submit_key = ToHex(std::as_bytes(std::span(key)));
    request_.owner = CallerOwner();
    request_.attached = !command_.detach;
    submitter_ = std::thread([this] { inbox_.Push(Submitted{client_->Submit(request_)}); });
    const int exit = Loop();
    submitter_.join();
    return End(exit);
  }

 private:
  // ---- the cluster ------------------------------------------------------------------------------

  Result<ClientConfig> Cluster() {
    const auto found = ChooseCluster(command_.common.cluster);
    if (found.ok() && command_.slots != 0) {
      return Status(Code::kInvalid, "--slots shapes a private cluster, but this run goes to '" +
                                        found->cluster.name + "' (" + found->state +
                                        "); leave it out, or take that one `muster down`");
    }
    if (found.ok()) return ClientConfigOf(found->state);
    if (found.status().code() != Code::kNotFound) return found.status();
    if (command_.detach) {
      return Status(Code::kInvalid,
                    "--detach needs a cluster that stays: start one with `muster up`");
    }
    return PrivateCluster();
  }

  // A private one was made to fit.
  Status SettleOnCluster() {
    if (embedded_) return command_.job.min_nodes == 0 ? Status() : AwaitPrivateNodes();
    if (!command_.wish) return {};
    const auto nodes = client_->Nodes();
    return nodes.ok() ? Settle(command_, *nodes) : nodes.status();
  }

  // A job that could do with fewer must not start before the others are there.
  Status AwaitPrivateNodes() {
    const TimePoint until = RealClock().Now() + kStartPatience;
    while (true) {
      const auto nodes = client_->Nodes();
      if (!nodes.ok()) return nodes.status();
      const auto up = std::count_if(nodes->begin(), nodes->end(),
                                    [](const ClusterNode& node) { return !node.lost; });
      if (up >= static_cast<std::ptrdiff_t>(command_.job.nodes)) return {};
      if (RealClock().Now() >= until) {
        return Status(Code::kDeadline, "only " + std::to_string(up) +
                                           " nodes of the private cluster came up in time");
      }
      pollfd stop = {.fd = signals_.get(), .events = POLLIN, .revents = 0};
      if (poll(&stop, 1, kLookAgainMs) > 0) return {};  // The loop takes it.
    }
  }

  Result<ClientConfig> PrivateCluster() {
    RETURN_IF_ERROR(Settle(command_, {}));
    const auto slots = PrivateSlots(command_);
    if (!slots.ok()) return slots.status();
    if (command_.fill != SlotFill::kNone) command_.job.ranks_per_node = *slots;
    SweepStale(kKeptPrivateLogs);
    auto embedded = MakeEmbedded({.nodes = command_.job.nodes, .slots = *slots});
    if (!embedded.ok()) return std::move(embedded).status();
    embedded_.emplace(*std::move(embedded));
    keeper_ = std::make_unique<Keeper>(
        KeeperConfig{.parts = PartsOf(embedded_->state, embedded_->cluster),
                     .cookie = embedded_->cluster.short_id,
                     .failed = [this](const Status& why) { inbox_.Push(KeeperFailed{why}); }});
    RETURN_IF_ERROR(keeper_->Start());
    Status ready = AwaitEndpoint(embedded_->state, kStartPatience, {inbox_.fd(), signals_.get()});
    for (const RunNews& news : inbox_.Take()) {
      if (const auto* failed = std::get_if<KeeperFailed>(&news)) ready = failed->why;
    }
    RETURN_IF_ERROR(std::move(ready).While("starting a private cluster"));
    return ClientConfigOf(embedded_->state);
  }

  // Takes the private cluster down, says where its logs are if they are worth keeping.
  int End(int exit) {
    if (input_) input_->Over();
    // What gRPC would tidy up takes it milliseconds, and the kernel none.
    if (!embedded_) {
      Conclude();
      (void)std::fflush(nullptr);
      _exit(exit);
    }
    if (keeper_) keeper_->Release();  // While we tidy up, so do they.
    input_.reset();
    attach_.reset();
    watch_.reset();
    logs_.reset();
    client_.reset();
    if (keeper_ && !keeper_->Stop(kStopPatience)) {
      Complain("muster: a part of the private cluster had to be killed\n");
    }
    const bool keep = exit != kExitOk && job_ != 0;
    if (!LeaveCluster(std::move(embedded_->lock), embedded_->state, embedded_->cluster, keep)) {
      Complain("muster: something of the private cluster stays in " + embedded_->cluster.runtime +
               " or in /dev/shm/muster-" + embedded_->cluster.short_id + "-*\n");
    }
    if (keep && !command_.common.json) {
      Complain("muster: its logs are kept in " + embedded_->state + "/logs\n");
    }
    Conclude();
    return exit;
  }

  // The last thing that is said.
  void Conclude() const { command_.common.json ? Print(verdict_) : Complain(verdict_); }

  // ---- the job ----------------------------------------------------------------------------------

  int Loop() {
    while (!exit_) {
      std::array<pollfd, 2> waits = {{{.fd = inbox_.fd(), .events = POLLIN, .revents = 0},
                                      {.fd = signals_.get(), .events = POLLIN, .revents = 0}}};
      poll(waits.data(), waits.size(), PollTimeout());
      TakeSignals();
      for (RunNews& news : inbox_.Take()) {
        std::visit([this](auto& n) { On(n); }, news);
      }
      if (job_ended_ && !logs_ended_ && RealClock().Now() >= logs_until_) AwaitLogs();
      if (job_ended_ && logs_ended_) Finish();
    }
    return *exit_;
  }

  // The log files are the buffer: a slow reader of ours is waited for, and holds up nobody else.
  void AwaitLogs() {
    if (printer_.GoesOn()) {
      logs_until_ = RealClock().Now() + kLogPatience;
      return;
    }
    GiveUpLogs("not all of the output came in time");
  }

  void GiveUpLogs(const std::string& why) {
    Complain("muster: " + why + "; see the log files\n");
    logs_given_up_ = logs_ended_ = true;
  }

  int PollTimeout() const {
    if (!job_ended_ || logs_ended_) return -1;
    const Duration left = std::max(logs_until_ - RealClock().Now(), Duration(0));
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
  }

  void On(Submitted& submitted) {
    if (!submitted.job.ok()) {
      exit_ = Fail(submitted.job.status(), command_.common.json);
      return;
    }
    job_ = *submitted.job;
    if (command_.detach) {
      Print(command_.common.json ? "{\"job\": " + std::to_string(job_) + "}\n"
                                 : std::to_string(job_) + "\n");
      exit_ = kExitOk;
      return;
    }
    attach_ = client_->Attach(
        job_, [] {}, [](const Status&) {});
    watch_ = client_->Watch(
        job_,
        [this](const WatchNews& news) {
          if (const auto* view = std::get_if<JobView>(&news)) inbox_.Push(*view);
        },
        [this](const Status& how) { inbox_.Push(WatchEnded{how}); });
    LogsRequest request = RequestOf(command_.show, job_, IsTerminal(STDOUT_FILENO));
    logs_ended_ = request.selection.no_stdout && request.selection.no_stderr;
    request.all_attempts = request.follow = true;
    if (!command_.local_ranks.empty()) {
      request.ranks =
          RanksWith(command_.local_ranks, {command_.job.nodes, command_.job.ranks_per_node});
    }
    if (!logs_ended_) {
      logs_ = client_->Logs(
          request,
          [this](const LogPiece& piece) {
            if (!printer_.Put(piece)) inbox_.Push(OutputClosed{});
          },
          [this](const Status& how) { inbox_.Push(LogsEnded{how}); });
    }
    const LaunchOptions& launch = command_.job.launch;
    if (launch.pty || launch.stdin_rank0) input_.emplace(*client_, job_, launch.pty);
    if (stops_asked_ > 0) CancelJob();
  }

  void On(JobView& view) {
    if (view.running && started_ == TimePoint()) started_ = RealClock().Now();
    if (view.phase == JobView::Phase::kEnded) ended_ = RealClock().Now();
    if (view.restarts > view_.restarts && view.phase != JobView::Phase::kEnded) {
      command_.common.json ? Print(RestartJson(view)) : Complain(RestartReport(view));
    }
    view_ = std::move(view);
  }

  void On(const WatchEnded& watch) {
    if (!watch.how.ok()) {
      Fail(Status(Code::kUnavailable,
                  "lost sight of job " + std::to_string(job_) + ": " + watch.how.message()),
           command_.common.json);
      exit_ = kExitNoCoordinator;
      return;
    }
    job_ended_ = true;
    logs_until_ = RealClock().Now() + kLogPatience;
  }

  void On(const LogsEnded& logs) {
    logs_ended_ = true;
    if (!logs.how.ok() && exit_ == std::nullopt && !output_closed_) {
      Complain("muster: the output is not complete: " + logs.how.message() + "\n");
    }
  }

  void On(const KeeperFailed& failed) { exit_ = Fail(failed.why, command_.common.json, kExitBug); }

  void On(const OutputClosed&) {
    if (std::exchange(output_closed_, true)) return;
    logs_->Cancel();
    AskToStop(kExitBrokenPipe);
  }

  // ---- stopping ---------------------------------------------------------------------------------

  void TakeSignals() {
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      OnSignal(static_cast<int>(info.ssi_signo));
    }
  }

  void OnSignal(int number) {
    if (number == SIGUSR1 || number == SIGUSR2) return PassOn(number);
    if (number == SIGINT && stops_asked_ == 0 && job_ != 0) {
      Complain("muster: stopping job " + std::to_string(job_) + " (grace " +
               std::to_string(command_.job.grace_ms / 1000) + " s; once more to kill it now)\n");
    }
    AskToStop(128 + number);
  }

  void PassOn(int number) {  // Scripts trap them, such as to save before they are requeued.
    if (job_ != 0) return Send([this, number] { return client_->Signal(job_, number); });
    Complain("muster: " + SignalName(number) + " is not passed on: the job does not run yet\n");
  }

  void AskToStop(int exit_after) {
    if (job_ended_ && !logs_ended_) return GiveUpLogs("the rest of the output was not printed");
    if (stops_asked_++ == 0) exit_after_stop_ = exit_after;
    if (job_ != 0) CancelJob();
  }

  void CancelJob() {
    Send([this, now = stops_asked_ > 1] { return client_->Cancel(job_, now); });
  }

  void Send(std::function<Status()> call) {  // On a thread: the coordinator may be away.
    errands_.emplace_back([call = std::move(call)] {
      const Status done = call();
      if (!done.ok()) Complain("muster: " + done.message() + "\n");
    });
  }

  void Finish() {
    if (!output_closed_ && !logs_given_up_) printer_.Flush();
    const bool by_us = stops_asked_ > 0 && view_.end == JobView::End::kCancelled;
    exit_ = by_us ? exit_after_stop_ : view_.exit_code;
    const TimePoint began = started_ == TimePoint() ? ended_ : started_;
    const auto ran = std::chrono::duration_cast<std::chrono::milliseconds>(ended_ - began);
    verdict_ = command_.common.json
                   ? EndJson(view_, *exit_)
                   : ResumeAdvice(view_, request_.checkpoint) + EndReport(view_, ran.count());
  }

  RunCommand command_;
  UniqueFd signals_;
  Inbox<RunNews> inbox_;
  std::optional<Embedded> embedded_;
  std::unique_ptr<Keeper> keeper_;
  JobRequest request_;
  JobId job_ = 0;
  JobView view_;
  TimePoint started_, ended_, logs_until_;
  bool job_ended_ = false, logs_ended_ = false, output_closed_ = false, logs_given_up_ = false;
  int stops_asked_ = 0;
  int exit_after_stop_ = kExitInterrupted;
  std::optional<int> exit_;
  std::string verdict_;
  std::optional<ClusterClient> client_;
  Printer printer_{[this] {
                     const auto view = client_->Get(job_);
                     OutputFormat format =
                         FormatOf(command_.show, job_, view.ok() ? RanksOf(*view) : 0,
                                  IsTerminal(STDOUT_FILENO), UtcOffsetSeconds());
                     if (command_.common.json) format.prefix = Prefix::kJson;
                     format.rank0_has_terminal = command_.job.launch.pty;
                     return format;
                   },
                   command_.common.json};
  std::optional<GivenInput> input_;
  std::unique_ptr<ClientStream> attach_, watch_, logs_;
  std::thread submitter_;
  std::vector<std::jthread> errands_;
};

}  // namespace

int CarryOutRun(const RunCommand& run) {
  RunCommand command = run;
  const Status settled = SettleInput(command);
  return settled.ok() ? Run(command).CarryOut() : Fail(settled, run.common.json);
}

}  // namespace muster
