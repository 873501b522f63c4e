#include "runtime/checkpoint/inspect.h"

#include <algorithm>
#include <set>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace muster::checkpoint {
namespace {

using Spans = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // In a file: [begin, end).

// Where the manifest says that tensors lie, file by file.
std::vector<Spans> SpansByFile(const Manifest& manifest) {
  std::vector<Spans> files(manifest.files());
  for (std::size_t t = 0; t < manifest.tensors(); ++t) {
    const ManifestTensor tensor = manifest.tensor(t);
    for (std::uint64_t i = 0; i < tensor.boxes(); ++i) {
      const ManifestBox box = tensor.box(i);
      const std::uint64_t bytes = Volume(box.region.shape) * tensor.item_bytes();
      files[box.file].emplace_back(box.begin, box.begin + bytes);
    }
  }
  for (Spans& spans : files) std::sort(spans.begin(), spans.end());
  return files;
}

// Other programs go by the header of a shard, ours by the manifest: they must say the same.
Status CheckHeader(Store& store, const std::string& path, std::uint64_t size, const Spans& due) {
  std::string header(std::min<std::uint64_t>(size, 8), '\0');
  const auto first = store.Read(path, 0, std::as_writable_bytes(std::span(header)));
  if (!first.ok()) return first.status();
  const auto length = ShardHeaderBytes(header);
  if (!length.ok()) return length.status();
  header.resize(std::min(size, *length));
  const auto read = store.Read(path, 0, std::as_writable_bytes(std::span(header)));
  if (!read.ok()) return read.status();
  const auto parsed = ParseShardHeader(header, size);
  if (!parsed.ok()) return parsed.status();
  Spans spans;
  for (const HeaderTensor& tensor : parsed->tensors) spans.emplace_back(tensor.begin, tensor.end);
  std::sort(spans.begin(), spans.end());
  if (spans == due) return {};
  return Status(Code::kDataLoss, "its header and the manifest place tensors differently");
}

}  // namespace

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
  auto manifest = ReadManifest(store, *record);
  if (manifest.ok()) RETURN_IF_ERROR(CheckManifest(*manifest));
  return manifest;
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
  if (const Status whole = CheckManifest(*manifest); !whole.ok()) {
    found.damage.push_back({.path = folder + "/" + kManifestName, .what = whole.message()});
  }
  const std::vector<Spans> spans = SpansByFile(*manifest);
  for (std::size_t i = 0; i < manifest->files(); ++i) {
    const ManifestFile file = manifest->file(i);
    auto damage = FindDamage(store, folder, file);
    if (damage.empty()) {
      found.bytes += file.size;
      const std::string path = folder + "/" + std::string(file.name);
      const Status header = CheckHeader(store, path, file.size, spans[i]);
      if (!header.ok()) damage.push_back({.path = path, .what = header.message()});
    }
    found.damage.insert(found.damage.end(), damage.begin(), damage.end());
  }
  return found;
}

}  // namespace muster::checkpoint
