#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "launcher/cli/caller_posix.h"
#include "launcher/cli/cli_posix.h"
#include "launcher/cli/events.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/output_lines.h"
#include "launcher/cli/render.h"
#include "launcher/cli/request.h"
#include "launcher/cli/seats.h"
#include "launcher/cli/show_curve_posix.h"
#include "launcher/cli/terminal_posix.h"
#include "launcher/cli/trace_posix.h"
#include "launcher/cli/verdict.h"
#include "runtime/base/owner_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// A verb's common part: a client, or the complaint that there is none.
class Asker {
 public:
  explicit Asker(const Common& common) : json_(common.json) {
    auto config = FindClient(common);
    if (config.ok()) {
      client_.emplace(*std::move(config));
    } else {
      failure_ = config.status();
    }
  }

  bool ready() const { return client_.has_value(); }
  int NoCluster() const { return Fail(failure_, json_); }
  ClusterClient& client() { return *client_; }

  // A job's number, or its name: the newest of that name.
  Result<JobId> Find(const std::string& job) {
    if (const auto number = ParseUnsigned(job)) return *number;
    const auto jobs = client_->List(/*ended_too=*/true);
    if (!jobs.ok()) return jobs.status();
    JobId newest = 0;
    for (const JobView& view : *jobs) {
      if (view.name == job) newest = std::max(newest, view.id);
    }
    if (newest != 0) return newest;
    return Status(Code::kNotFound, "there is no job '" + job + "'; `muster list --all` lists them");
  }

 private:
  bool json_;
  Status failure_;
  std::optional<ClusterClient> client_;
};

int Done(const Status& status, const Common& common) {
  if (!status.ok()) return Fail(status, common.json);
  if (common.json) Print("{}\n");
  return kExitOk;
}

// Calls `act` with the job's number, and the client.
template <typename Act>
int WithJob(const Common& common, const std::string& name, Act act) {
  Asker asker(common);
  if (!asker.ready()) return asker.NoCluster();
  const auto job = asker.Find(name);
  if (!job.ok()) return Fail(job.status(), common.json);
  return act(asker.client(), *job);
}

Result<JobFile> ReadJobFile(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) return Status(Code::kInvalid, text.status().message());
  auto file = ParseJobFile(path, *text);
  if (file.ok() && file->workdir.empty()) {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    char* absolute = realpath(folder.c_str(), nullptr);
    file->workdir = absolute == nullptr ? "/" : absolute;
    free(absolute);
  }
  return file;
}

int Do(const SubmitCommand& submit) {
  const auto file = ReadJobFile(submit.file);
  if (!file.ok()) return Fail(file.status(), submit.common.json);
  Asker asker(submit.common);
  if (!asker.ready()) return asker.NoCluster();
  JobRequest request = RequestOf(
      *file, Adjusted(PlainProgram(file->command, file->environment, file->workdir), *file));
  const std::string key = RandomBytes(16);
  request.submit_key = ToHex(std::as_bytes(std::span(key)));
  request.owner = CallerOwner();
  const auto job = asker.client().Submit(request);
  if (!job.ok()) return Fail(job.status(), submit.common.json);
  Print(submit.common.json ? "{\"job\": " + std::to_string(*job) + "}\n"
                           : std::to_string(*job) + "\n");
  return kExitOk;
}

int Do(const PlanCommand& plan) {
  const auto file = ReadJobFile(plan.file);
  if (!file.ok()) return Fail(file.status(), plan.common.json);
  Asker asker(plan.common);
  if (!asker.ready()) return asker.NoCluster();
  const auto nodes = asker.client().Nodes();
  if (!nodes.ok()) return Fail(nodes.status(), plan.common.json);
  const Fit fit = FitOf(*file, *nodes);
  if (!fit.ever)
    return Fail(Status(Code::kInvalid, JobName(*file) + " " + fit.sentence), plan.common.json);
  Print(plan.common.json ? PlanJson(JobName(*file), fit.now, fit.sentence)
                         : JobName(*file) + ": " + (fit.now ? "would start now" : "would wait") +
                               "; it " + fit.sentence + "\n");
  return kExitOk;
}

int Do(const ListCommand& list) {
  Asker asker(list.common);
  if (!asker.ready()) return asker.NoCluster();
  const auto jobs = asker.client().List(list.all);
  if (!jobs.ok()) return Fail(jobs.status(), list.common.json);
  Print(list.common.json ? JobsJson(*jobs) : JobTable(*jobs));
  return kExitOk;
}

int Do(const ShowCommand& show) {
  return WithJob(show.common, show.job, [&](ClusterClient& client, JobId job) {
    const auto view = client.Get(job);
    if (!view.ok()) return Fail(view.status(), show.common.json);
    if (show.bind && !show.common.json) {
      Print(SeatPage(*view));
      return kExitOk;
    }
    const auto curve = view->attempt ? FetchCurve(client, job) : std::vector<CurvePoint>();
    Print(show.common.json ? JobJson(*view, curve) : JobPage(*view) + DrawCurve(curve));
    return kExitOk;
  });
}

int Do(const WhyCommand& why) {
  return WithJob(why.common, why.job, [&](ClusterClient& client, JobId job) {
    const auto view = client.Get(job);
    if (!view.ok()) return Fail(view.status(), why.common.json);
    Print(why.common.json ? JobJson(*view) : Join(view->why, "\n") + "\n");
    return kExitOk;
  });
}

int Do(const WaitCommand& wait) {
  return WithJob(wait.common, wait.job, [&](ClusterClient& client, JobId job) {
    JobView last;
    const auto watch = client.Watch(
        job,
        [&](const WatchNews& news) {
          if (const auto* view = std::get_if<JobView>(&news)) last = *view;
        },
        [](const Status&) {});
    const Status ended = watch->Wait();
    if (!ended.ok()) return Fail(ended, wait.common.json);
    if (wait.common.json) {
      Print(EndJson(last, last.exit_code));
    } else {
      Complain(EndReport(last));
    }
    return last.exit_code;
  });
}

int Do(const LogsCommand& logs) {
  return WithJob(logs.common, logs.job, [&](ClusterClient& client, JobId job) {
    const auto view = client.Get(job);
    if (!view.ok()) return Fail(view.status(), logs.common.json);
    const std::size_t ranks = RanksOf(*view);  // 0: not yet placed, it may be any number.
    if (const Status known = CheckRanks(logs.show, *view); !known.ok()) {
      return Fail(known, logs.common.json);
    }
    const bool terminal = IsTerminal(STDOUT_FILENO);
    LogsRequest request = RequestOf(logs.show, job, terminal && logs.follow);
    request.follow = logs.follow;
    if (logs.attempt >= 0) request.attempt = static_cast<AttemptNumber>(logs.attempt);
    request.all_attempts = logs.attempt < 0 && logs.tail_lines == 0;
    request.selection.tail_lines = logs.tail_lines;
    if (logs.since_ms > 0) {
      const WallTime since = RealClock().Wall() - std::chrono::milliseconds(logs.since_ms);
      request.selection.since_us =
          std::chrono::duration_cast<std::chrono::microseconds>(since.time_since_epoch()).count();
    }
    OutputFormat format = FormatOf(logs.show, job, ranks, terminal, UtcOffsetSeconds());
    if (logs.common.json) format.prefix = Prefix::kJson;
    OutputLines lines(format);
    bool open = true;
    std::unique_ptr<ClientStream> stream = client.Logs(
        request,
        [&](const LogPiece& piece) {
          if (!open) return;
          const bool to_stdout = logs.common.json || !piece.is_stderr;
          open = WriteOut(to_stdout ? STDOUT_FILENO : STDERR_FILENO, lines.Take(piece)).ok();
          if (!open) stream->Cancel();
        },
        [](const Status&) {});
    const Status ended = stream->Wait();
    if (!open) return kExitOk;
    Print(lines.FlushAll(false));
    logs.common.json ? Print(lines.FlushAll(true)) : Complain(lines.FlushAll(true));
    if (ended.ok()) return kExitOk;
    // What a lost node holds is missing: no bug of ours.
    const bool missing = ended.code() == Code::kDataLoss;
    return Fail(ended, logs.common.json, missing ? kExitFailed : ExitStatusOf(ended.code()));
  });
}

int Do(const EventsCommand& events) {
  return WithJob(events.common, events.job, [&](ClusterClient& client, JobId job) {
    bool open = true;
    std::unique_ptr<ClientStream> stream = client.Watch(
        job,
        [&](const WatchNews& news) {
          if (!open) return;
          open =
              WriteOut(STDOUT_FILENO, events.common.json ? EventJson(news) : EventLine(news)).ok();
          if (!open) stream->Cancel();
        },
        [](const Status&) {});
    const Status ended = stream->Wait();
    return ended.ok() || !open ? kExitOk : Fail(ended, events.common.json);
  });
}

int Do(const CancelCommand& cancel) {
  return WithJob(cancel.common, cancel.job, [&](ClusterClient& client, JobId job) {
    return Done(client.Cancel(job, cancel.now, cancel.grace_ms), cancel.common);
  });
}

int Do(const SignalCommand& signal) {
  return WithJob(signal.common, signal.job, [&](ClusterClient& client, JobId job) {
    return Done(client.Signal(job, signal.signal, signal.rank), signal.common);
  });
}

// Its output as it comes, its exit status as ours.  That a reader is gone ends us, and so the
// program.
int Do(const ExecCommand& exec) {
  return WithJob(exec.common, exec.job, [&](ClusterClient& client, JobId job) {
    const auto end = client.Exec({.job = job, .rank = exec.rank, .argv = exec.command},
                                 [](bool is_stderr, const std::string& data) {
                                   const int fd = is_stderr ? STDERR_FILENO : STDOUT_FILENO;
                                   if (!WriteOut(fd, data).ok()) _exit(128 + SIGPIPE);
                                 });
    if (!end.ok()) return Fail(end.status(), exec.common.json);
    if (end->failure.empty()) return static_cast<int>(end->exit);
    return Fail(Status(Code::kInvalid, end->failure), exec.common.json, end->exit);
  });
}

int Do(const TraceCommand& trace) {
  return WithJob(trace.common, trace.job, [&](ClusterClient& client, JobId job) {
    return CarryOutTrace(client, job, trace);
  });
}

int Do(const NodesCommand& command) {
  Asker asker(command.common);
  if (!asker.ready()) return asker.NoCluster();
  const auto nodes = asker.client().Nodes();
  if (!nodes.ok()) return Fail(nodes.status(), command.common.json);
  Print(command.common.json ? NodesJson(*nodes) : NodeTable(*nodes));
  return kExitOk;
}

int Do(const DrainCommand& drain) {
  Asker asker(drain.common);
  if (!asker.ready()) return asker.NoCluster();
  return Done(asker.client().Drain(drain.node, drain.reason, drain.dead), drain.common);
}

int Do(const ResumeCommand& resume) {
  Asker asker(resume.common);
  if (!asker.ready()) return asker.NoCluster();
  return Done(asker.client().Drain(resume.node, "", false), resume.common);
}

int Do(const RunCommand& run) {
  return CarryOutRun(run);
}
int Do(const UpCommand& up) {
  return CarryOutUp(up);
}
int Do(const DownCommand& down) {
  return CarryOutDown(down);
}
int Do(const CkptCommand& ckpt) {
  return CarryOutCkpt(ckpt);
}
int Do(const DoctorCommand& doctor) {
  return CarryOutDoctor(doctor);
}
int Do(const InitCommand& init) {
  return CarryOutInit(init);
}
int Do(const KeeperCommand& keeper) {
  return CarryOutKeeper(keeper);
}
int Do(const CoordinatorCommand&) {
  return kExitBug;
}
int Do(const AgentCommand&) {
  return kExitBug;
}

}  // namespace

int CarryOut(const Command& command) {
  return std::visit([](const auto& c) { return Do(c); }, command);
}

}  // namespace muster
