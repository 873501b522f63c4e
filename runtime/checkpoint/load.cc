#include "runtime/checkpoint/load.h"

#include <memory>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint64_t kManifestMax = std::uint64_t{1} << 32U;
constexpr std::uint64_t kReadMax = std::uint64_t{64} << 20U;
constexpr int kStartsMax = 16;  // Each one more means that a commit was made and one removed.

std::string CommitPath(const std::string& run, CommitId commit) {
  return CommitsFolder(run) + "/" + CommitName(commit);
}

struct Newest {
  std::optional<CommitRecord> record;
  std::vector<std::string> notes;
};

Result<Newest> FindNewest(Store& store, const std::string& run) {
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) return commits.status();
  Newest newest;
  for (const CommitId& commit : *commits) {
    auto record = ReadCommit(store, run, commit);
    if (record.ok()) {
      newest.record = *std::move(record);
      return newest;
    }
    if (record.status().code() != Code::kDataLoss) return std::move(record).status();
    newest.notes.push_back("passed over " + record.status().message());
  }
  if (commits->empty()) return newest;
  return Status(Code::kDataLoss,
                "run " + run + " has commit records and all are torn: " + newest.notes.front());
}

Status LoadRecord(Store& store, const Allocate& allocate, std::span<const std::string> patterns,
                  Checkpoint& checkpoint) {
  auto tensors = WholeTensors(checkpoint.manifest, patterns);
  if (!tensors.ok()) return std::move(tensors).status();
  const auto plan = LoadPlan::Make(checkpoint.manifest, *std::move(tensors));
  if (!plan.ok()) return plan.status();
  checkpoint.tensors = plan->wanted();
  const auto memory = allocate(TotalBytes(checkpoint.tensors));
  if (!memory.ok()) return memory.status();
  std::vector<std::byte*> into;
  std::byte* at = memory->data();
  for (const StagedTensor& tensor : checkpoint.tensors) {
    into.push_back(at);
    at += BoxBytes(tensor);
  }
  const CommitRecord& record = checkpoint.record;
  return Fill(store, FolderOf(record.run, record.save), *plan, into);
}

// Does `act` with the newest commit; again, with the next one, when it is removed meanwhile.
template <typename Opened, typename Act>
Result<std::optional<Opened>> WithNewest(Store& store, const std::string& run, const Act& act) {
  RETURN_IF_ERROR(CheckRunName(run));
  for (int starts = 1;; ++starts) {
    auto newest = FindNewest(store, run);
    if (newest.ok() && !newest->record.has_value()) return std::optional<Opened>();
    Status failed = newest.status();
    bool gone = failed.code() == Code::kNotFound;
    if (newest.ok()) {
      auto manifest = ReadManifest(store, *newest->record);
      failed = manifest.status();
      if (manifest.ok()) {
        Opened opened{.record = *newest->record, .manifest = *std::move(manifest)};
        opened.notes = newest->notes;
        failed = act(opened);
        if (failed.ok()) return std::optional<Opened>(std::move(opened));
      }
      // Only a commit that is no more may be passed over for another.
      const auto there = ReadCommit(store, run, IdOf(newest->record->save));
      gone = there.status().code() == Code::kNotFound;
    }
    if (!gone || starts == kStartsMax) return std::move(failed).While("loading run " + run);
  }
}

}  // namespace

Result<CommitRecord> ReadCommit(Store& store, const std::string& run, CommitId commit) {
  const std::string path = CommitPath(run, commit);
  auto text = ReadWhole(store, path, kRecordMax);
  if (!text.ok()) return std::move(text).status();
  auto record = ParseCommit(*text);
  if (!record.ok()) return std::move(record).status().While(path);
  if (record->run != run || IdOf(record->save) != commit) {
    return Status(Code::kDataLoss, path + " is the record of another commit: run " + record->run +
                                       ", " + CommitName(IdOf(record->save)));
  }
  return record;
}

std::string FolderOf(const std::string& run, const SaveId& save) {
  return DataFolder(run) + "/" + SaveName(save);
}

Result<Manifest> ReadManifest(Store& store, const CommitRecord& record) {
  const std::string path = FolderOf(record.run, record.save) + "/" + kManifestName;
  const auto size = store.Size(path);
  if (!size.ok()) return size.status();
  if (*size != record.manifest_bytes || *size > kManifestMax) {
    return Status(Code::kDataLoss, path + " has " + std::to_string(*size) + " bytes, and not the " +
                                       std::to_string(record.manifest_bytes) +
                                       " that the commit record says");
  }
  // Not a vector, which would be filled with zeros first.
  const std::shared_ptr<std::byte[]> words(new std::byte[*size + 8]);
  const std::span<std::byte> bytes(words.get(), *size);
  const auto read = store.Read(path, 0, bytes);
  if (!read.ok()) return read.status();
  const std::uint32_t crc = Crc32c(bytes.first(*read));
  if (*read != *size || crc != record.manifest_crc) {
    return Status(Code::kDataLoss, path + ": its CRC-32C is " + CrcText(crc) + ", should be " +
                                       CrcText(record.manifest_crc));
  }
  auto manifest = Manifest::Parse(bytes, words);
  if (!manifest.ok()) return std::move(manifest).status().While(path);
  if (manifest->run() != record.run || manifest->save() != record.save) {
    return Status(Code::kDataLoss, path + " is the manifest of another save");
  }
  return manifest;
}

Result<std::optional<OpenedCheckpoint>> OpenNewest(Store& store, const std::string& run) {
  return WithNewest<OpenedCheckpoint>(store, run, [](OpenedCheckpoint&) { return Status(); });
}

Status Fill(Store& store, const std::string& folder, const LoadPlan& plan,
            std::span<std::byte* const> into) {
  const Manifest& manifest = plan.manifest();
  const BlockSet wants[] = {plan.blocks()};
  std::vector<bool> sized(manifest.files());
  for (const ReadTurn& turn : DivideReads(manifest, wants, kReadMax / kBlock)) {
    const ManifestFile file = manifest.file(turn.file);
    const Blocks blocks = BlocksOf(folder, file, turn.first, turn.blocks);
    if (!sized[turn.file]) RETURN_IF_ERROR(CheckSize(store, blocks.path, file.size));
    sized[turn.file] = true;
    RETURN_IF_ERROR(
        ReadBlocks(store, blocks, [&](std::uint64_t begin, std::span<const std::byte> block) {
          plan.Scatter(turn.file, begin, block, into);
        }));
  }
  return {};
}

Result<std::optional<Checkpoint>> Load(Store& store, const std::string& run,
                                       const Allocate& allocate,
                                       std::span<const std::string> patterns) {
  return WithNewest<Checkpoint>(store, run, [&](Checkpoint& checkpoint) {
    return LoadRecord(store, allocate, patterns, checkpoint);
  });
}

}  // namespace muster::checkpoint
