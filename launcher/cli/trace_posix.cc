#include "launcher/cli/trace_posix.h"

#include <unistd.h>

#include "launcher/cli/behind.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/terminal_posix.h"
#include "launcher/cli/trace.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

struct Fetched {
  std::vector<RankTrace> traces;
  std::string note;
};

// Of a job that runs, what its ranks did until now.  A node that cannot is left as it is.
void WriteDown(ClusterClient& client, const JobView& view, std::string* note) {
  if (!view.running) return;
  for (const MemberView& member : view.members) {
    const auto end =
        client.Exec({.job = view.id, .rank = member.first_rank, .argv = {}, .recorders = true},
                    [](bool, const std::string&) {});
    const std::string failure = end.ok() ? end->failure : end.status().message();
    if (!failure.empty()) *note += "node " + member.node + " tells nothing new: " + failure + "\n";
  }
}

Result<Fetched> Fetch(ClusterClient& client, JobId job, const TraceCommand& trace) {
  LogsRequest request{.job = job, .ranks = trace.ranks, .selection = {.recorder = true}};
  if (trace.attempt >= 0) request.attempt = static_cast<AttemptNumber>(trace.attempt);
  TraceFiles files;  // The stream's thread's, until it ended.
  const Status ended =
      client
          .Logs(
              request, [&](const LogPiece& piece) { files.Take(piece); }, [](const Status&) {})
          ->Wait();
  // What a lost node holds is missing; the rest is worth seeing.
  if (!ended.ok() && ended.code() != Code::kDataLoss) return ended;
  Fetched fetched;
  if (!ended.ok()) fetched.note = ended.message() + "\n";
  fetched.traces = files.Read(&fetched.note);
  return fetched;
}

Status Nothing(const JobView& view, const TraceCommand& trace, const std::string& note) {
  const std::string name = "job " + std::to_string(view.id);
  if (!view.attempt) return Status(Code::kNotFound, name + " has not started: nothing is recorded");
  const std::int64_t attempt = trace.attempt >= 0 ? trace.attempt : std::int64_t{*view.attempt};
  return Status(Code::kNotFound,
                name + " recorded nothing in attempt " + std::to_string(attempt) +
                    (trace.ranks.empty() ? "" : " on these ranks") +
                    ": only programs on libmuster's training loop have a flight recorder, from the "
                    "first step on" +
                    (note.empty() ? "" : " (" + note.substr(0, note.find('\n')) + ")"));
}

Status Write(const std::string& path, const std::string& text) {
  return path.empty() ? WriteOut(STDOUT_FILENO, text) : ReplaceFile(path, text, 0644);
}

Status WriteAll(const std::vector<RankTrace>& traces, JobId job, const TraceCommand& trace) {
  if (trace.format == TraceFormat::kChrome) return Write(trace.output, ChromeTrace(traces, job));
  for (const RankTrace& one : traces) {
    const std::string rank = std::to_string(one.recording.rank);
    RETURN_IF_ERROR(
        Write(trace.output.empty() ? "" : trace.output + rank, FlightTrace(one, traces)));
  }
  return {};
}

}  // namespace

int CarryOutTrace(ClusterClient& client, JobId job, const TraceCommand& trace) {
  const auto view = client.Get(job);
  if (!view.ok()) return Fail(view.status(), trace.common.json);
  const Status known = CheckRanks({.ranks = trace.ranks}, *view);
  if (!known.ok()) return Fail(known, trace.common.json);
  std::string note;
  if (trace.attempt < 0 || static_cast<AttemptNumber>(trace.attempt) == view->attempt) {
    WriteDown(client, *view, &note);
    Complain(note);
  }
  const auto fetched = Fetch(client, job, trace);
  if (!fetched.ok()) return Fail(fetched.status(), trace.common.json);
  if (fetched->traces.empty()) {
    return Fail(Nothing(*view, trace, fetched->note), trace.common.json, kExitFailed);
  }
  Complain(fetched->note);
  if (trace.last) {
    Print(trace.common.json ? LastJson(fetched->traces) : LastPage(fetched->traces));
    return kExitOk;
  }
  const Status written = WriteAll(fetched->traces, job, trace);
  return written.ok() ? kExitOk : Fail(written, trace.common.json, kExitFailed);
}

}  // namespace muster
