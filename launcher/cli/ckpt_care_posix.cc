#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "launcher/cli/ckpt_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/terminal_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/adopt.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/export.h"
#include "runtime/checkpoint/keep_rules.h"
#include "runtime/checkpoint/nfs_url.h"
#include "runtime/checkpoint/pins.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster::ckpt {
namespace {

using checkpoint::CommitId;
using checkpoint::LetGoOrder;
using checkpoint::LetGoPlan;

// What gc is to do in a run; nullopt: it has no commit, and nothing is superfluous.
Result<std::optional<LetGoOrder>> OrderOf(const At& at, const std::string& run) {
  const auto commits = checkpoint::ListCommits(at.store, run);
  if (!commits.ok()) return commits.status();
  if (commits->empty()) return std::optional<LetGoOrder>();
  const auto rules = checkpoint::ParseKeepRules(
      at.command.keep, {.last = at.command.keep.empty() ? checkpoint::kKeepAll : 3});
  if (!rules.ok()) return rules.status();
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return nonce.status();
  return std::optional(LetGoOrder{
      .run = run, .newest = commits->front(), .rules = *rules, .now_ms = NowMs(), .nonce = *nonce});
}

Json PlanJson(const std::string& run, const LetGoPlan& plan) {
  Json commits = Json::array();
  for (const LetGoPlan::Commit& commit : plan.commits) {
    Json one = {{"commit", NameOf(commit.id)}, {"bytes", commit.bytes}};
    one[commit.kept.empty() ? "goes" : "kept"] =
        commit.kept.empty() ? Json(true) : Json(commit.kept);
    commits.push_back(std::move(one));
  }
  return {{"run", run}, {"commits", commits}, {"rubbish", plan.rubbish}};
}

std::string PlanText(const std::string& run, const LetGoPlan& plan) {
  std::string text = run + "\n";
  for (const LetGoPlan::Commit& commit : plan.commits) {
    text += "  " + NameOf(commit.id) + "  " + HumanBytes(commit.bytes) +
            (commit.kept.empty() ? "  would go\n" : "  stays: " + commit.kept + "\n");
  }
  for (const std::string& name : plan.rubbish) {
    text += "  " + name + "  was never committed, would go\n";
  }
  return text;
}

// The commit that the command means, of its one run.
Result<CommitId> One(const At& at) {
  const auto meant = Meant(at);
  if (!meant.ok()) return meant.status();
  if (meant->empty()) return Status(Code::kNotFound, "run " + at.runs[0] + " has no commit");
  return meant->front().second;
}

// The store to write to: a folder that is new, or empty.
Result<std::unique_ptr<checkpoint::Store>> OpenOut(const std::string& out, bool& made) {
  made = !checkpoint::IsNfsUrl(out) && mkdir(out.c_str(), 0777) == 0;
  if (!made && !checkpoint::IsNfsUrl(out) && errno != EEXIST) {
    return ErrnoStatus("making " + out, errno);
  }
  auto store = checkpoint::OpenAnyStore(out);
  if (!store.ok()) return store;
  const auto names = (*store)->List("");
  if (!names.ok()) return names.status();
  if (names->empty()) return store;
  return Status(Code::kExists, out + " is not empty (it has " + names->front() +
                                   "); give a folder that is new or empty");
}

}  // namespace

int Gc(const At& at) {
  const bool json = at.command.common.json;
  Json all = Json::array();
  std::string text;
  for (const std::string& run : at.runs) {
    const auto order = OrderOf(at, run);
    if (!order.ok()) return Fail(order.status(), json);
    if (!order->has_value()) {
      text += run + "  has no commit: what lies there may still become one\n";
      all.push_back({{"run", run}, {"commits", 0}, {"folders", 0}});
    } else if (at.command.dry_run) {
      const auto plan = PlanLetGo(at.store, **order);
      if (!plan.ok()) return Fail(plan.status(), json);
      all.push_back(PlanJson(run, *plan));
      text += PlanText(run, *plan);
    } else {
      const auto freed = LetGo(at.store, **order);
      if (!freed.ok()) return Fail(freed.status(), json);
      all.push_back({{"run", run}, {"commits", freed->commits}, {"folders", freed->folders}});
      text += run + "  let " + std::to_string(freed->commits) + " commits go, removed " +
              std::to_string(freed->folders) + " folders\n";
    }
  }
  Print(json ? Dump(all) : text);
  return kExitOk;
}

int Export(const At& at) {
  const bool json = at.command.common.json;
  const auto commit = One(at);
  if (!commit.ok()) return Fail(commit.status(), json);
  const Lease lease(at.store, at.runs[0], *commit);
  bool made = false;
  const auto out = OpenOut(at.command.out, made);
  if (!out.ok()) return Fail(out.status(), json);
  std::optional<Progress> progress(std::in_place, at.command, "export");
  const auto exported = checkpoint::Export(
      at.store,
      {.run = at.runs[0],
       .commit = *commit,
       .patterns = at.command.tensors,
       .shard_bytes_max = at.command.max_shard_bytes,
       .progress = [&](std::uint64_t bytes, std::uint64_t of) { progress->Tell(bytes, of); }},
      **out);
  progress.reset();
  if (!exported.ok()) {
    if (made) rmdir(at.command.out.c_str());
    return Fail(exported.status(), json);
  }
  const Json result = {
      {"run", at.runs[0]},        {"commit", NameOf(*commit)},    {"out", at.command.out},
      {"bytes", exported->bytes}, {"tensors", exported->tensors}, {"files", exported->files}};
  Print(json ? Dump(result)
             : NameOf(at.runs[0], *commit) + ": " + std::to_string(exported->tensors) +
                   " tensors, " + HumanBytes(exported->bytes) + ", in " +
                   std::to_string(exported->files.size()) + " files of " + at.command.out + "\n");
  return kExitOk;
}

int Pin(const At& at) {
  const bool json = at.command.common.json;
  const auto commit = One(at);
  if (!commit.ok()) return Fail(commit.status(), json);
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return Fail(nonce.status(), json);
  const std::int64_t until = at.command.lease_ms == 0 ? 0 : NowMs() + at.command.lease_ms;
  const Status pinned = checkpoint::Pin(
      at.store, at.runs[0],
      {.commit = *commit, .until_ms = static_cast<std::uint64_t>(until), .nonce = *nonce},
      at.command.reason);
  if (!pinned.ok()) return Fail(pinned, json);
  const Json result = {{"run", at.runs[0]}, {"pinned", NameOf(*commit)}, {"until_ms", until}};
  Print(json ? Dump(result) : NameOf(at.runs[0], *commit) + " is pinned\n");
  return kExitOk;
}

int Unpin(const At& at) {
  const bool json = at.command.common.json;
  const auto commit = One(at);
  if (!commit.ok()) return Fail(commit.status(), json);
  const auto pins = checkpoint::ListPins(at.store, at.runs[0]);
  if (!pins.ok()) return Fail(pins.status(), json);
  std::size_t removed = 0;
  for (const checkpoint::PinName& pin : *pins) {
    if (pin.commit != *commit) continue;
    const Status gone = checkpoint::Unpin(at.store, at.runs[0], pin);
    if (!gone.ok()) return Fail(gone, json);
    ++removed;
  }
  if (removed == 0) {
    return Fail(Status(Code::kNotFound, NameOf(at.runs[0], *commit) + " has no pin"), json);
  }
  const Json result = {{"run", at.runs[0]}, {"unpinned", NameOf(*commit)}, {"pins", removed}};
  Print(json ? Dump(result) : NameOf(at.runs[0], *commit) + " is not pinned any more\n");
  return kExitOk;
}

int Drop(const At& at) {
  const bool json = at.command.common.json;
  const std::string& run = at.runs[0];
  const auto commit = ParseName(at.command.commit);
  if (!commit.ok()) return Fail(commit.status(), json);
  auto order = OrderOf(at, run);
  if (!order.ok()) return Fail(order.status(), json);
  if (!order->has_value()) {
    return Fail(Status(Code::kNotFound, "run " + run + " has no commit"), json);
  }
  (*order)->drop = *commit;
  const auto plan = PlanLetGo(at.store, **order);
  if (!plan.ok()) return Fail(plan.status(), json);
  const auto found = std::find_if(plan->commits.begin(), plan->commits.end(),
                                  [&](const auto& one) { return one.id == *commit; });
  if (found == plan->commits.end()) {
    return Fail(Status(Code::kNotFound, "run " + run + " has no commit " + NameOf(*commit) +
                                            "; `muster ckpt ls` lists them"),
                json);
  }
  if (!found->kept.empty()) {
    return Fail(Status(Code::kInvalid, NameOf(run, *commit) + " stays, since it is pinned; " +
                                           "`muster ckpt unpin` it first"),
                json);
  }
  const auto freed = LetGo(at.store, **order);
  if (!freed.ok()) return Fail(freed.status(), json);
  const auto left = checkpoint::ListCommits(at.store, run);
  if (!left.ok()) return Fail(left.status(), json);
  const std::string newest = left->empty() ? "" : NameOf(left->front());
  const Json result = {{"run", run}, {"dropped", NameOf(*commit)}, {"newest", newest}};
  Print(json ? Dump(result)
             : NameOf(run, *commit) + " is gone; " +
                   (newest.empty() ? "the run has no commit any more"
                                   : "the newest of the run is " + newest) +
                   "\n");
  return kExitOk;
}

int Adopt(const At& at) {
  const bool json = at.command.common.json;
  const std::string& run = at.runs[0];
  const auto commit = ParseName(at.command.commit);
  if (!commit.ok()) return Fail(commit.status(), json);
  const auto folders = at.store.List(checkpoint::DataFolder(run));
  if (!folders.ok()) return Fail(folders.status(), json);
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return Fail(nonce.status(), json);
  Status failed(Code::kNotFound, "run " + run + " has no save " + at.command.commit +
                                     "; `muster ckpt ls` lists those that were never committed");
  for (const std::string& folder : *folders) {
    const auto save = checkpoint::ParseSaveName(folder);
    if (!save || IdOf(*save) != *commit) continue;
    std::optional<Progress> progress(std::in_place, at.command, "reading " + folder);
    const auto record = checkpoint::Adopt(
        at.store, {.run = run,
                   .save = *save,
                   .nonce = *nonce,
                   .now_ms = NowMs(),
                   .progress = [&](std::uint64_t bytes) { progress->Tell(bytes, 0); }});
    progress.reset();
    if (!record.ok()) {
      failed = record.status();
      continue;
    }
    const Json result = {{"run", run}, {"commit", NameOf(*commit)}, {"bytes", record->bytes}};
    Print(json ? Dump(result)
               : NameOf(run, *commit) +
                     " is whole, and committed now: " + HumanBytes(record->bytes) + "\n");
    return kExitOk;
  }
  return Fail(failed, json,
              failed.code() == Code::kDataLoss ? kExitFailed : ExitStatusOf(failed.code()));
}

}  // namespace muster::ckpt
