#include "runtime/checkpoint/inspect.h"

#include <algorithm>
#include <set>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/load.h"

namespace muster::checkpoint {

Result<std::vector<std::string>> ListRuns(Store& store) {
  const auto names = store.List("");
  if (!names.ok()) return names.status();
  std::vector<std::string> runs;
  for (const std::string& name : *names) {
    if (!CheckRunName(name).ok()) continue;
    if (store.List(CommitsFolder(name)).ok()) runs.push_back(name);
  }
  std::sort(runs.begin(), runs.end());
  return runs;
}

Result<RunSummary> Summarize(Store& store, const std::string& run) {
  RETURN_IF_ERROR(CheckRunName(run));
  const auto claimed = HighestClaim(store, run);
  if (!claimed.ok()) return claimed.status();
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) return commits.status();
  RunSummary summary{.run = run, .generation = *claimed};
  std::set<std::string> named;
  for (const CommitId& id : *commits) {
    auto record = ReadCommit(store, run, id);
    CommitSummary commit{.id = id};
    if (record.ok()) {
      named.insert(SaveName(record->save));
      commit.record = *std::move(record);
    } else {
      commit.problem = record.status().message();
    }
    summary.commits.push_back(std::move(commit));
  }
  auto folders = store.List(DataFolder(run));
  if (!folders.ok() && folders.status().code() == Code::kNotFound) {
    return Status(Code::kNotFound, "the store has no run " + run);
  }
  if (!folders.ok()) return std::move(folders).status();
  for (const std::string& folder : *folders) {
    if (!named.contains(folder)) summary.rubbish.push_back(folder);
  }
  std::sort(summary.rubbish.begin(), summary.rubbish.end());
  return summary;
}

Result<Manifest> Show(Store& store, const std::string& run, CommitId commit) {
  RETURN_IF_ERROR(CheckRunName(run));
  const auto record = ReadCommit(store, run, commit);
  if (!record.ok()) return record.status();
  return ReadManifest(store, *record);
}

Verification Verify(Store& store, const std::string& run, CommitId commit) {
  Verification found;
  const auto record = ReadCommit(store, run, commit);
  if (!record.ok()) {
    found.damage.push_back(
        {.path = CommitsFolder(run) + "/" + CommitName(commit), .what = record.status().message()});
    return found;
  }
  const std::string folder = DataFolder(run) + "/" + SaveName(record->save);
  const auto manifest = ReadManifest(store, *record);
  if (!manifest.ok()) {
    found.damage.push_back(
        {.path = folder + "/" + kManifestName, .what = manifest.status().message()});
    return found;
  }
  for (const ManifestFile& file : manifest->files) {
    const auto damage = FindDamage(store, folder, file);
    if (damage.empty()) found.bytes += file.size;
    found.damage.insert(found.damage.end(), damage.begin(), damage.end());
  }
  return found;
}

}  // namespace muster::checkpoint
