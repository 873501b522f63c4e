#include "runtime/checkpoint/retention.h"

#include <algorithm>
#include <set>
#include <vector>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/pins.h"

namespace muster::checkpoint {
namespace {

// What the records say about the folders in data/.
struct Named {
  std::set<std::string> folders;
  std::set<CommitId> torn;  // Their nonce is unknown: every folder of that name's start stays.

  bool Names(const SaveId& save) const {
    return folders.contains(SaveName(save)) || torn.contains(IdOf(save));
  }
};

struct Records {
  Named kept;
  std::vector<CommitId> surplus;
  LetGoPlan plan;
};

bool HasPin(const std::vector<PinName>& pins, CommitId commit, std::int64_t now_ms) {
  return std::any_of(pins.begin(), pins.end(),
                     [&](const PinName& pin) { return pin.commit == commit && pin.Holds(now_ms); });
}

// Reads every record that there is.
Result<Records> Sort(Store& store, const LetGoOrder& order, const std::vector<PinName>& pins) {
  const auto commits = ListCommits(store, order.run);
  if (!commits.ok()) return commits.status();
  std::vector<KeepCandidate> candidates;
  std::vector<CommitRecord> found;
  for (const CommitId& commit : *commits) {
    auto record = ReadCommit(store, order.run, commit);
    const bool whole = record.ok();
    const Code code = record.status().code();
    if (code == Code::kNotFound) continue;
    if (!whole && code != Code::kDataLoss) return std::move(record).status();
    found.push_back(whole ? *std::move(record) : CommitRecord());
    candidates.push_back({.id = commit,
                          .whole = whole,
                          .time_ms = found.back().time_ms,
                          .metrics = found.back().metrics,
                          .pinned = HasPin(pins, commit, order.now_ms)});
  }
  std::vector<std::string> kept = WhyKept(candidates, order.rules);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (order.drop == candidates[i].id && !candidates[i].pinned) kept[i].clear();
  }
  Records records;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const CommitId id = candidates[i].id;
    records.plan.commits.push_back({.id = id, .kept = kept[i], .bytes = found[i].bytes});
    if (kept[i].empty()) {
      records.surplus.push_back(id);
    } else if (candidates[i].whole) {
      records.kept.folders.insert(SaveName(found[i].save));
    } else {
      records.kept.torn.insert(id);
    }
  }
  return records;
}

Result<std::vector<SaveId>> FindRubbish(Store& store, const std::string& run, CommitId newest,
                                        const Named& named) {
  const auto names = store.List(DataFolder(run));
  if (!names.ok()) return names.status();
  std::vector<SaveId> rubbish;
  for (const std::string& name : *names) {
    const auto save = ParseSaveName(name);
    if (save.has_value() && IdOf(*save) <= newest && !named.Names(*save)) rubbish.push_back(*save);
  }
  return rubbish;
}

Status UnlinkTemporaries(Store& store, const std::string& run, CommitId newest) {
  const std::string folder = ClaimsFolder(run);
  const auto names = store.List(folder);
  if (!names.ok()) return names.status();
  bool any = false;
  for (const std::string& name : *names) {
    const auto save = ParseTemporaryName(name);
    if (!save.has_value() || IdOf(*save) > newest) continue;
    const Status gone = store.Unlink(folder + "/" + name);
    if (!gone.ok() && gone.code() != Code::kNotFound) return gone;
    any = true;
  }
  return any ? store.SyncFolder(folder) : Status();
}

Status RemoveSave(Store& store, const std::string& folder) {
  const auto names = store.List(folder);
  if (!names.ok()) return names.status().code() == Code::kNotFound ? Status() : names.status();
  for (const std::string& name : *names) {
    const Status gone = store.Unlink(folder + "/" + name);
    if (!gone.ok() && gone.code() != Code::kNotFound) return gone;
  }
  const Status gone = store.RemoveFolder(folder);
  return gone.code() == Code::kNotFound ? Status() : gone;
}

// What has a record now, or a lease of it.
Result<std::vector<SaveId>> StillRubbish(Store& store, const LetGoOrder& order,
                                         const std::vector<SaveId>& rubbish) {
  const auto pins = LookForPins(store, order.run, order.nonce);
  if (!pins.ok()) return pins.status();
  LetGoOrder all = order;
  all.rules = {.last = kKeepAll};
  all.drop.reset();
  const auto now = Sort(store, all, *pins);
  if (!now.ok()) return now.status();
  std::vector<SaveId> still;
  for (const SaveId& save : rubbish) {
    if (now->kept.Names(save) || HasPin(*pins, IdOf(save), order.now_ms)) continue;
    still.push_back(save);
  }
  for (const PinName& pin : *pins) {
    if (!pin.Holds(order.now_ms)) RETURN_IF_ERROR(Unpin(store, order.run, pin));
  }
  return still;
}

Result<std::size_t> RemoveRubbish(Store& store, const LetGoOrder& order, const Named& kept) {
  const std::string& run = order.run;
  RETURN_IF_ERROR(UnlinkTemporaries(store, run, order.newest));
  auto rubbish = FindRubbish(store, run, order.newest, kept);
  if (!rubbish.ok()) return std::move(rubbish).status();
  if (rubbish->empty()) return std::size_t{0};
  const auto still = StillRubbish(store, order, *rubbish);
  if (!still.ok()) return still.status();
  for (const SaveId& save : *still) {
    RETURN_IF_ERROR(RemoveSave(store, DataFolder(run) + "/" + SaveName(save)));
  }
  RETURN_IF_ERROR(store.SyncFolder(DataFolder(run)));
  return still->size();
}

// What goes, with pins as an NFS client remembers them, then once more with those there are.
Result<Records> SortTwice(Store& store, const LetGoOrder& order) {
  const auto remembered = ListPins(store, order.run);
  if (!remembered.ok()) return remembered.status();
  auto records = Sort(store, order, *remembered);
  if (!records.ok() || records->surplus.empty()) return records;
  const auto pins = LookForPins(store, order.run, order.nonce);
  if (!pins.ok()) return pins.status();
  return Sort(store, order, *pins);
}

}  // namespace

Result<Freed> LetGo(Store& store, const LetGoOrder& order) {
  const auto records = SortTwice(store, order);
  if (!records.ok()) return records.status();
  const std::string folder = CommitsFolder(order.run);
  for (const CommitId& commit : records->surplus) {
    const Status gone = store.Unlink(folder + "/" + CommitName(commit));
    if (!gone.ok() && gone.code() != Code::kNotFound) return gone;
  }
  // Also what another has unlinked and not synced: a name must not come back without its data.
  RETURN_IF_ERROR(store.SyncFolder(folder));
  auto folders = RemoveRubbish(store, order, records->kept);
  if (!folders.ok()) return std::move(folders).status();
  return Freed{.commits = records->surplus.size(), .folders = *folders};
}

Result<Freed> LetGo(Store& store, const std::string& run, CommitId newest, std::size_t keep) {
  return LetGo(store, {.run = run,
                       .newest = newest,
                       .rules = {.last = static_cast<std::uint32_t>(keep)},
                       .nonce = newest.step});
}

Result<LetGoPlan> PlanLetGo(Store& store, const LetGoOrder& order) {
  const auto pins = ListPins(store, order.run);
  if (!pins.ok()) return pins.status();
  auto records = Sort(store, order, *pins);
  if (!records.ok()) return std::move(records).status();
  const auto rubbish = FindRubbish(store, order.run, order.newest, records->kept);
  if (!rubbish.ok()) return rubbish.status();
  for (const SaveId& save : *rubbish) {
    if (HasPin(*pins, IdOf(save), order.now_ms)) continue;
    const auto goes = [&](const CommitId& commit) { return commit == IdOf(save); };
    const auto& surplus = records->surplus;
    if (std::none_of(surplus.begin(), surplus.end(), goes)) {
      records->plan.rubbish.push_back(SaveName(save));
    }
  }
  return std::move(records->plan);
}

}  // namespace muster::checkpoint
