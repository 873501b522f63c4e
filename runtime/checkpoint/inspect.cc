#include "runtime/checkpoint/inspect.h"

#include <algorithm>
#include <set>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kTensorsNamed = 8;

struct Span {
  std::uint64_t begin = 0, end = 0;  // In a file.
  std::size_t tensor = 0;
};
using Spans = std::vector<Span>;

bool IsBefore(const Span& a, const Span& b) {
  return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
}

// Where the manifest says that tensors lie, file by file.
std::vector<Spans> SpansByFile(const Manifest& manifest) {
  std::vector<Spans> files(manifest.files());
  for (std::size_t t = 0; t < manifest.tensors(); ++t) {
    const ManifestTensor tensor = manifest.tensor(t);
    for (std::uint64_t i = 0; i < tensor.boxes(); ++i) {
      const ManifestBox box = tensor.box(i);
      const std::uint64_t bytes = Volume(box.region.shape) * tensor.item_bytes();
      files[box.file].push_back({.begin = box.begin, .end = box.begin + bytes, .tensor = t});
    }
  }
  for (Spans& spans : files) std::sort(spans.begin(), spans.end(), IsBefore);
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
  const auto& found = parsed->tensors;  // In the same order.
  const auto same = [](const HeaderTensor& a, const Span& b) {
    return a.begin == b.begin && a.end == b.end;
  };
  if (std::equal(found.begin(), found.end(), due.begin(), due.end(), same)) return {};
  return Status(Code::kDataLoss, "its header and the manifest place tensors differently");
}

// The files that hold any tensor that matches.
Result<std::vector<bool>> FilesWith(const Manifest& manifest,
                                    std::span<const std::string> patterns) {
  std::vector<bool> files(manifest.files(), patterns.empty());
  if (patterns.empty()) return files;
  const auto wanted = WholeTensors(manifest, patterns);
  if (!wanted.ok()) return wanted.status();
  for (const StagedTensor& one : *wanted) {
    const ManifestTensor tensor = manifest.tensor(*manifest.Find(one.name));
    for (std::uint64_t b = 0; b < tensor.boxes(); ++b) files[tensor.box(b).file] = true;
  }
  return files;
}

std::vector<Damage> CheckFile(Store& store, const std::string& folder, const ManifestFile& file,
                              const Spans& spans, bool quick) {
  const std::string path = folder + "/" + std::string(file.name);
  std::vector<Damage> damage;
  if (quick) {
    const Status probed = ProbeShard(store, folder, file);
    if (!probed.ok()) damage.push_back({.path = path, .what = probed.message()});
  } else {
    damage = FindDamage(store, folder, file);
  }
  if (!damage.empty()) return damage;
  const Status header = CheckHeader(store, path, file.size, spans);
  if (!header.ok()) damage.push_back({.path = path, .what = header.message()});
  return damage;
}

// The bytes that are meant: the MiB, or the one byte of it where one flipped bit explains its CRC.
void Place(Store& store, const ManifestFile& file, Damage& damage) {
  damage.begin = std::min(damage.mib * kBlock, file.size);
  damage.end = std::min(damage.begin + kBlock, file.size);
  std::vector<std::byte> block(damage.end - damage.begin);
  const auto read = store.Read(damage.path, damage.begin, block);
  if (!read.ok()) damage.end = file.size;  // It is not there, or cannot be read.
  if (!read.ok() || *read != block.size() || damage.mib >= file.crcs.size()) return;
  const auto bit = FlippedBit(Crc32c(block), file.crcs[damage.mib], block.size());
  if (!bit) return;
  damage.begin += *bit / 8;
  damage.end = damage.begin + 1;
  damage.what += "; one flipped bit explains it: bit " + std::to_string(*bit % 8) + " of byte " +
                 std::to_string(damage.begin);
}

void NameTensors(const Manifest& manifest, const Spans& spans, Damage& damage) {
  for (const Span& span : spans) {
    if (span.end <= damage.begin || span.begin >= damage.end) continue;
    if (damage.tensors.size() == kTensorsNamed) return;
    damage.tensors.emplace_back(manifest.tensor(span.tensor).name());
  }
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

Verification Verify(Store& store, const std::string& run, CommitId commit,
                    const VerifyOptions& options) {
  Verification found;
  const auto record = ReadCommit(store, run, commit);
  if (!record.ok()) {
    found.damage.push_back(
        {.path = CommitsFolder(run) + "/" + CommitName(commit), .what = record.status().message()});
    return found;
  }
  const std::string folder = FolderOf(run, record->save);
  const auto manifest = ReadManifest(store, *record);
  const std::string manifest_path = folder + "/" + kManifestName;
  if (!manifest.ok()) {
    found.damage.push_back({.path = manifest_path, .what = manifest.status().message()});
    return found;
  }
  if (const Status whole = CheckManifest(*manifest); !whole.ok()) {
    found.damage.push_back({.path = manifest_path, .what = whole.message()});
  }
  const auto wanted = FilesWith(*manifest, options.patterns);
  if (!wanted.ok()) {
    found.unmatched = wanted.status().message();
    return found;
  }
  const std::vector<Spans> spans = SpansByFile(*manifest);
  for (std::size_t i = 0; i < manifest->files(); ++i) {
    if (!(*wanted)[i]) continue;
    const ManifestFile file = manifest->file(i);
    auto damage = CheckFile(store, folder, file, spans[i], options.quick);
    for (Damage& one : damage) {
      Place(store, file, one);
      NameTensors(*manifest, spans[i], one);
    }
    if (damage.empty()) found.bytes += file.size;
    found.damage.insert(found.damage.end(), damage.begin(), damage.end());
    if (options.progress) options.progress(found.bytes, record->bytes);
  }
  return found;
}

}  // namespace muster::checkpoint
