#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/cli/cli_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/terminal_posix.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/inspect.h"
#include "runtime/checkpoint/manifest_json.h"
#include "runtime/checkpoint/store_nfs.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string NameOf(const checkpoint::CommitId& commit) {
  return "g" + std::to_string(commit.generation) + "-s" + std::to_string(commit.step);
}

Json ToJsonValue(const checkpoint::CommitSummary& commit) {
  Json json = {{"commit", NameOf(commit.id)},
               {"generation", commit.id.generation},
               {"step", commit.id.step}};
  if (!commit.problem.empty()) {
    json["problem"] = commit.problem;
  } else {
    json["bytes"] = commit.record.bytes;
    json["nodes"] = commit.record.nodes;
    json["time_ms"] = commit.record.time_ms;
  }
  return json;
}

std::string Line(const checkpoint::CommitSummary& commit) {
  std::string line = "  " + NameOf(commit.id);
  if (!commit.problem.empty()) return line + "  not usable: " + commit.problem + "\n";
  return line + "  " + HumanBytes(commit.record.bytes) + " in " +
         std::to_string(commit.record.nodes) + " shards\n";
}

int List(checkpoint::Store& store, const std::vector<std::string>& runs, bool json) {
  Json all = Json::array();
  std::string text;
  for (const std::string& run : runs) {
    const auto summary = Summarize(store, run);
    if (!summary.ok()) return Fail(summary.status(), json);
    Json commits = Json::array();
    text += run + "  generation " + std::to_string(summary->generation) + "\n";
    for (const checkpoint::CommitSummary& commit : summary->commits) {
      commits.push_back(ToJsonValue(commit));
      text += Line(commit);
    }
    all.push_back({{"run", run},
                   {"generation", summary->generation},
                   {"commits", commits},
                   {"rubbish", summary->rubbish}});
    for (const std::string& name : summary->rubbish) text += "  (never committed: " + name + ")\n";
  }
  Print(json ? Dump(all) : text);
  return kExitOk;
}

// The newest commit of each run that has one.
Result<std::vector<std::pair<std::string, checkpoint::CommitId>>> Newest(
    checkpoint::Store& store, const std::vector<std::string>& runs) {
  std::vector<std::pair<std::string, checkpoint::CommitId>> newest;
  for (const std::string& run : runs) {
    const auto summary = Summarize(store, run);
    if (!summary.ok()) return summary.status();
    if (!summary->commits.empty()) newest.emplace_back(run, summary->commits.front().id);
  }
  return newest;
}

std::string Lines(const checkpoint::Manifest& manifest) {
  std::string text;
  for (std::size_t i = 0; i < manifest.files(); ++i) {
    const checkpoint::ManifestFile file = manifest.file(i);
    text += "  " + std::string(file.name) + "  " + HumanBytes(file.size) + "\n";
  }
  for (std::size_t i = 0; i < manifest.tensors(); ++i) {
    const checkpoint::ManifestTensor tensor = manifest.tensor(i);
    std::vector<std::string> shape;
    for (const std::uint64_t size : tensor.shape()) shape.push_back(std::to_string(size));
    text += "  " + std::string(tensor.name()) + "  " + std::string(tensor.dtype()) + "[" +
            Join(shape, ",") + "]\n";
  }
  return text;
}

int ShowNewest(checkpoint::Store& store, const std::vector<std::string>& runs, bool json) {
  const auto newest = Newest(store, runs);
  if (!newest.ok()) return Fail(newest.status(), json);
  std::string text;
  for (const auto& [run, commit] : *newest) {
    const auto manifest = checkpoint::Show(store, run, commit);
    if (!manifest.ok()) return Fail(manifest.status(), json);
    text += json ? (text.empty() ? "[\n  " : ",\n  ") : run + " " + NameOf(commit) + "\n";
    if (json) {
      WriteManifestJson(*manifest, NameOf(commit), "  ",
                        [&](std::string_view part) { text += part; });
    } else {
      text += Lines(*manifest);
    }
  }
  Print(json ? (text.empty() ? "[]\n" : text + "\n]\n") : text);
  return kExitOk;
}

int VerifyNewest(checkpoint::Store& store, const std::vector<std::string>& runs, bool json) {
  const auto newest = Newest(store, runs);
  if (!newest.ok()) return Fail(newest.status(), json);
  Json all = Json::array();
  std::string text;
  bool whole = true;
  for (const auto& [run, commit] : *newest) {
    const checkpoint::Verification found = checkpoint::Verify(store, run, commit);
    Json damage = Json::array();
    text += run + " " + NameOf(commit) + ": " + HumanBytes(found.bytes) + " read, " +
            (found.damage.empty() ? "whole" : "DAMAGED") + "\n";
    for (const checkpoint::Damage& one : found.damage) {
      whole = false;
      damage.push_back({{"path", one.path}, {"mib", one.mib}, {"what", one.what}});
      text += "  " + one.path + " at MiB " + std::to_string(one.mib) + ": " + one.what + "\n";
    }
    all.push_back(
        {{"run", run}, {"commit", NameOf(commit)}, {"bytes", found.bytes}, {"damage", damage}});
  }
  Print(json ? Dump(all) : text);
  return whole ? kExitOk : kExitFailed;
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
  if (command.action == "show") return ShowNewest(**store, *runs, json);
  if (command.action == "verify") return VerifyNewest(**store, *runs, json);
  return List(**store, *runs, json);
}

}  // namespace muster
