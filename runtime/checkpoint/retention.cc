#include "runtime/checkpoint/retention.h"

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/load.h"

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
};

Result<Records> Sort(Store& store, const std::string& run, std::size_t keep) {
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) return commits.status();
  Records records;
  for (const CommitId& commit : *commits) {
    if (records.kept.folders.size() >= keep) {
      records.surplus.push_back(commit);
      continue;
    }
    const auto record = ReadCommit(store, run, commit);
    if (record.ok()) {
      records.kept.folders.insert(SaveName(record->save));
    } else if (record.status().code() == Code::kDataLoss) {
      records.kept.torn.insert(commit);
    } else if (record.status().code() != Code::kNotFound) {
      return record.status();
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

Result<std::size_t> RemoveRubbish(Store& store, const std::string& run, CommitId newest,
                                  const Named& kept) {
  RETURN_IF_ERROR(UnlinkTemporaries(store, run, newest));
  auto rubbish = FindRubbish(store, run, newest, kept);
  if (!rubbish.ok()) return std::move(rubbish).status();
  if (rubbish->empty()) return std::size_t{0};

  const auto now = Sort(store, run, std::numeric_limits<std::size_t>::max());
  if (!now.ok()) return now.status();
  std::size_t removed = 0;
  for (const SaveId& save : *rubbish) {
    if (now->kept.Names(save)) continue;
    RETURN_IF_ERROR(RemoveSave(store, DataFolder(run) + "/" + SaveName(save)));
    ++removed;
  }
  RETURN_IF_ERROR(store.SyncFolder(DataFolder(run)));
  return removed;
}

}  // namespace

Result<Freed> LetGo(Store& store, const std::string& run, CommitId newest, std::size_t keep) {
  CHECK(keep > 0);
  const auto records = Sort(store, run, keep);
  if (!records.ok()) return records.status();
  for (const CommitId& commit : records->surplus) {
    const Status gone = store.Unlink(CommitsFolder(run) + "/" + CommitName(commit));
    if (!gone.ok() && gone.code() != Code::kNotFound) return gone;
  }
  if (!records->surplus.empty()) RETURN_IF_ERROR(store.SyncFolder(CommitsFolder(run)));
  auto folders = RemoveRubbish(store, run, newest, records->kept);
  if (!folders.ok()) return std::move(folders).status();
  return Freed{.commits = records->surplus.size(), .folders = *folders};
}

}  // namespace muster::checkpoint
