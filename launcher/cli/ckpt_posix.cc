#include "launcher/cli/ckpt_posix.h"

#include <unistd.h>

#include <algorithm>

#include "launcher/cli/cli_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/terminal_posix.h"
#include "runtime/base/clock.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/inspect.h"
#include "runtime/checkpoint/manifest_json.h"
#include "runtime/checkpoint/pins.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster {
namespace ckpt {

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string NameOf(const checkpoint::CommitId& commit) {
  return "g" + std::to_string(commit.generation) + "-s" + std::to_string(commit.step);
}
std::string NameOf(const std::string& run, const checkpoint::CommitId& commit) {
  return run + " " + NameOf(commit);
}

Result<checkpoint::CommitId> ParseName(const std::string& name) {
  const auto commit = checkpoint::ParseCommitName(name + ".json");
  if (commit) return *commit;
  return Status(Code::kInvalid, "'" + name +
                                    "' names no commit; `muster ckpt ls` has their names, such as "
                                    "g1-s20: generation 1, step 20");
}

Result<std::vector<std::pair<std::string, checkpoint::CommitId>>> Meant(const At& at) {
  std::vector<std::pair<std::string, checkpoint::CommitId>> meant;
  for (const std::string& run : at.runs) {
    const auto summary = Summarize(at.store, run);
    if (!summary.ok()) return summary.status();
    const auto& commits = summary->commits;
    if (at.command.commit.empty()) {
      if (!commits.empty()) meant.emplace_back(run, commits.front().id);
      continue;
    }
    const auto commit = ParseName(at.command.commit);
    if (!commit.ok()) return commit.status();
    const bool there = std::any_of(commits.begin(), commits.end(),
                                   [&](const auto& one) { return one.id == *commit; });
    if (!there) {
      return Status(Code::kNotFound,
                    "run " + run + " has no commit " + at.command.commit + "; it has " +
                        (commits.empty() ? "none"
                                         : std::to_string(commits.size()) + ", the newest " +
                                               NameOf(commits.front().id)));
    }
    meant.emplace_back(run, *commit);
  }
  if (!meant.empty()) return meant;
  return Status(Code::kNotFound,
                "nothing is committed in " + at.command.store +
                    (at.runs.empty() ? ", which has no runs; is it the folder that a job's "
                                       "--checkpoint-store names?"
                                     : " of run " + Join(at.runs, ", ")));
}

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             RealClock().Wall().time_since_epoch())
      .count();
}

Progress::Progress(const CkptCommand& command, std::string what)
    : what_(std::move(what)), shown_(!command.common.json && isatty(STDERR_FILENO) != 0) {}
Progress::~Progress() {
  if (shown_) static_cast<void>(WriteOut(STDERR_FILENO, "\r\x1b[K"));
}
void Progress::Tell(std::uint64_t bytes, std::uint64_t of) {
  if (!shown_) return;
  const std::string all = of > 0 ? " of " + HumanBytes(of) : "";
  static_cast<void>(
      WriteOut(STDERR_FILENO, "\r" + what_ + ": " + HumanBytes(bytes) + all + "\x1b[K"));
}

Lease::Lease(checkpoint::Store& store, std::string run, checkpoint::CommitId commit)
    : store_(store), run_(std::move(run)) {
  constexpr std::int64_t kHourMs = 3'600'000;
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return;
  const checkpoint::PinName pin{
      .commit = commit, .until_ms = static_cast<std::uint64_t>(NowMs() + kHourMs), .nonce = *nonce};
  // A store that cannot be written has no gc either.
  if (!checkpoint::Pin(store, run_, pin, "muster ckpt reads it").ok()) return;
  path_ = checkpoint::PinsFolder(run_) + "/" + PinFileName(pin);
}
Lease::~Lease() {
  if (!path_.empty()) static_cast<void>(UnlinkIfThere(store_, path_));
}

}  // namespace ckpt

namespace {

using ckpt::At;
using ckpt::Dump;
using ckpt::Json;
using ckpt::NameOf;

Json ToJsonValue(const checkpoint::CommitSummary& commit, bool pinned) {
  Json json = {{"commit", NameOf(commit.id)},
               {"generation", commit.id.generation},
               {"step", commit.id.step}};
  if (!commit.problem.empty()) {
    json["problem"] = commit.problem;
  } else {
    json["bytes"] = commit.record.bytes;
    json["nodes"] = commit.record.nodes;
    json["time_ms"] = commit.record.time_ms;
    if (!commit.record.metrics.empty()) json["metrics"] = commit.record.metrics;
  }
  if (pinned) json["pinned"] = true;
  return json;
}

std::string Line(const checkpoint::CommitSummary& commit, bool pinned) {
  std::string line = "  " + NameOf(commit.id);
  if (!commit.problem.empty()) return line + "  not usable: " + commit.problem + "\n";
  return line + "  " + HumanBytes(commit.record.bytes) + " in " +
         std::to_string(commit.record.nodes) + " shards" + (pinned ? ", pinned" : "") + "\n";
}

int List(const At& at) {
  const bool json = at.command.common.json;
  Json all = Json::array();
  std::string text;
  for (const std::string& run : at.runs) {
    const auto summary = Summarize(at.store, run);
    if (!summary.ok()) return Fail(summary.status(), json);
    const auto pins = checkpoint::ListPins(at.store, run);
    if (!pins.ok()) return Fail(pins.status(), json);
    Json commits = Json::array();
    text += run + "  generation " + std::to_string(summary->generation) + "\n";
    for (const checkpoint::CommitSummary& commit : summary->commits) {
      const bool pinned = std::any_of(pins->begin(), pins->end(), [&](const auto& pin) {
        return pin.commit == commit.id && pin.Holds(ckpt::NowMs());
      });
      commits.push_back(ToJsonValue(commit, pinned));
      text += Line(commit, pinned);
    }
    all.push_back({{"run", run},
                   {"generation", summary->generation},
                   {"commits", commits},
                   {"rubbish", summary->rubbish}});
    for (const std::string& name : summary->rubbish) text += "  (never committed: " + name + ")\n";
  }
  Print(json ? Dump(all) : text);
  if (at.runs.empty() && !json)
    Complain("muster ckpt: no run has saved in " + at.command.store + "\n");
  return kExitOk;
}

std::string TensorLine(const checkpoint::ManifestTensor& tensor) {
  std::vector<std::string> shape;
  for (const std::uint64_t size : tensor.shape()) shape.push_back(std::to_string(size));
  return "  " + std::string(tensor.name()) + "  " + std::string(tensor.dtype()) + "[" +
         Join(shape, ",") + "]\n";
}

std::string Lines(const checkpoint::Manifest& manifest, const std::vector<std::size_t>& tensors) {
  std::string text;
  for (const std::string_view key :
       {checkpoint::kMemberTopology, checkpoint::kMemberHostState, checkpoint::kMemberMetadata}) {
    const std::string_view value = manifest.Member(key);
    if (!value.empty()) text += "  " + std::string(key) + ": " + std::string(value) + "\n";
  }
  for (std::size_t i = 0; i < manifest.files(); ++i) {
    const checkpoint::ManifestFile file = manifest.file(i);
    text += "  " + std::string(file.name) + "  " + HumanBytes(file.size) + "\n";
  }
  for (const std::size_t i : tensors) text += TensorLine(manifest.tensor(i));
  return text;
}

int Show(const At& at) {
  const bool json = at.command.common.json;
  const auto meant = Meant(at);
  if (!meant.ok()) return Fail(meant.status(), json);
  std::string text;
  for (const auto& [run, commit] : *meant) {
    const auto manifest = checkpoint::Show(at.store, run, commit);
    if (!manifest.ok()) return Fail(manifest.status(), json);
    const auto wanted = WholeTensors(*manifest, at.command.tensors);
    if (!wanted.ok()) return Fail(wanted.status(), json);
    std::vector<std::size_t> tensors;
    for (const auto& tensor : *wanted) tensors.push_back(*manifest->Find(tensor.name));
    text += json ? (text.empty() ? "[\n  " : ",\n  ") : NameOf(run, commit) + "\n";
    if (json) {
      WriteManifestJson(*manifest, NameOf(commit), "  ", tensors,
                        [&](std::string_view part) { text += part; });
    } else {
      text += Lines(*manifest, tensors);
    }
  }
  Print(json ? text + "\n]\n" : text);
  return kExitOk;
}

Json DamageJson(const checkpoint::Damage& one) {
  return {{"path", one.path},   {"mib", one.mib}, {"what", one.what},
          {"begin", one.begin}, {"end", one.end}, {"tensors", one.tensors}};
}

std::string DamageLine(const checkpoint::Damage& one) {
  return "  " + one.path + " at MiB " + std::to_string(one.mib) + " (bytes " +
         std::to_string(one.begin) + " to " + std::to_string(one.end) + "): " + one.what +
         (one.tensors.empty() ? "" : "; of tensor " + Join(one.tensors, ", ")) + "\n";
}

int Verify(const At& at) {
  const bool json = at.command.common.json;
  const auto meant = Meant(at);
  if (!meant.ok()) return Fail(meant.status(), json);
  Json all = Json::array();
  std::string text;
  bool whole = true;
  for (const auto& [run, commit] : *meant) {
    const ckpt::Lease lease(at.store, run, commit);
    ckpt::Progress progress(at.command, "verify " + NameOf(run, commit));
    const checkpoint::Verification found = checkpoint::Verify(
        at.store, run, commit,
        {.quick = at.command.quick,
         .patterns = at.command.tensors,
         .progress = [&](std::uint64_t bytes, std::uint64_t of) { progress.Tell(bytes, of); }});
    if (found.damage.empty() && !found.unmatched.empty())
      return Fail(Status(Code::kNotFound, found.unmatched), json);
    Json damage = Json::array();
    text += run + " " + NameOf(commit) + ": " + HumanBytes(found.bytes) +
            (at.command.quick ? " looked at, " : " read, ") +
            (found.damage.empty() ? "whole" : "DAMAGED") + "\n";
    for (const checkpoint::Damage& one : found.damage) {
      whole = false;
      damage.push_back(DamageJson(one));
      text += DamageLine(one);
    }
    all.push_back(
        {{"run", run}, {"commit", NameOf(commit)}, {"bytes", found.bytes}, {"damage", damage}});
  }
  Print(json ? Dump(all) : text);
  return whole ? kExitOk : kExitFailed;
}

int Act(const At& at) {
  const std::string& action = at.command.action;
  if (action == "show") return Show(at);
  if (action == "verify") return Verify(at);
  if (action == "gc") return ckpt::Gc(at);
  if (action == "export") return ckpt::Export(at);
  if (action == "pin") return ckpt::Pin(at);
  if (action == "unpin") return ckpt::Unpin(at);
  if (action == "drop") return ckpt::Drop(at);
  if (action == "adopt") return ckpt::Adopt(at);
  return List(at);
}

}  // namespace

int CarryOutCkpt(const CkptCommand& command) {
  const bool json = command.common.json;
  const auto store = checkpoint::OpenAnyStore(command.store);
  if (!store.ok()) return Fail(Status(Code::kInvalid, store.status().message()), json);
  auto runs = checkpoint::ListRuns(**store);
  if (!runs.ok()) return Fail(runs.status(), json);
  if (!command.run.empty()) {
    if (std::find(runs->begin(), runs->end(), command.run) == runs->end()) {
      return Fail(
          Status(Code::kNotFound, "there is no run '" + command.run + "' in " + command.store +
                                      " (it has " + std::to_string(runs->size()) + " runs)"),
          json);
    }
    runs = std::vector<std::string>{command.run};
  }
  return Act({.store = **store, .command = command, .runs = *std::move(runs)});
}

}  // namespace muster
