#include "runtime/checkpoint/load.h"

#include <algorithm>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint64_t kManifestMax = std::uint64_t{1} << 30U;
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

// A part of a shard file, and where it goes in the loaded bytes.
struct Piece {
  StagedTensor box;
  std::uint64_t begin = 0, end = 0;  // In the file.
  std::uint64_t whole_begin = 0, whole_bytes = 0;
};

std::vector<std::vector<Piece>> PiecesByFile(const Manifest& manifest) {
  std::vector<std::vector<Piece>> files(manifest.files.size());
  std::uint64_t at = 0;
  for (const ManifestTensor& tensor : manifest.tensors) {
    const std::uint64_t whole = BoxBytes(WholeTensor(tensor.name, tensor.dtype, tensor.shape));
    for (const ManifestBox& place : tensor.boxes) {
      StagedTensor box = BoxOf(tensor, place);
      const std::uint64_t end = place.begin + BoxBytes(box);
      files[place.file].push_back({.box = std::move(box),
                                   .begin = place.begin,
                                   .end = end,
                                   .whole_begin = at,
                                   .whole_bytes = whole});
    }
    at += whole;
  }
  for (std::vector<Piece>& pieces : files) {
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
  }
  return files;
}

Status FillFrom(Store& store, const std::string& folder, const ManifestFile& file,
                const std::vector<Piece>& pieces, std::span<std::byte> into) {
  std::size_t next = 0;  // Blocks come in order, and so do pieces.
  return ReadShard(store, folder, file, [&](std::uint64_t begin, std::span<const std::byte> block) {
    const std::uint64_t end = begin + block.size();
    while (next < pieces.size() && pieces[next].end <= begin) ++next;
    for (std::size_t i = next; i < pieces.size() && pieces[i].begin < end; ++i) {
      const Piece& piece = pieces[i];
      const std::uint64_t from = std::max(piece.begin, begin);
      const std::uint64_t to = std::min(piece.end, end);
      if (from >= to) continue;
      CopyIntoWhole(piece.box, from - piece.begin, block.subspan(from - begin, to - from),
                    into.subspan(piece.whole_begin, piece.whole_bytes));
    }
  });
}

Status Fill(Store& store, const Checkpoint& checkpoint, std::span<std::byte> into) {
  const CommitRecord& record = checkpoint.record;
  const std::string folder = DataFolder(record.run) + "/" + SaveName(record.save);
  const auto pieces = PiecesByFile(checkpoint.manifest);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    RETURN_IF_ERROR(FillFrom(store, folder, checkpoint.manifest.files[i], pieces[i], into));
  }
  return {};
}

Status LoadRecord(Store& store, const Allocate& allocate, Checkpoint& checkpoint) {
  auto manifest = ReadManifest(store, checkpoint.record);
  if (!manifest.ok()) return std::move(manifest).status();
  checkpoint.manifest = *std::move(manifest);
  for (const ManifestTensor& tensor : checkpoint.manifest.tensors) {
    checkpoint.tensors.push_back(WholeTensor(tensor.name, tensor.dtype, tensor.shape));
  }
  const auto memory = allocate(TotalBytes(checkpoint.tensors));
  if (!memory.ok()) return memory.status();
  return Fill(store, checkpoint, *memory);
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

Result<Manifest> ReadManifest(Store& store, const CommitRecord& record) {
  const std::string path =
      DataFolder(record.run) + "/" + SaveName(record.save) + "/" + kManifestName;
  const auto text = ReadWhole(store, path, kManifestMax);
  if (!text.ok()) return text.status();
  if (text->size() != record.manifest_bytes || Crc32c(*text) != record.manifest_crc) {
    return Status(Code::kDataLoss, path + ": its size or CRC-32C is not what the commit record " +
                                       "says (" + std::to_string(text->size()) + " of " +
                                       std::to_string(record.manifest_bytes) + " bytes, " +
                                       CrcText(Crc32c(*text)) + " for " +
                                       CrcText(record.manifest_crc) + ")");
  }
  auto manifest = ParseManifest(*text);
  if (!manifest.ok()) return std::move(manifest).status().While(path);
  if (manifest->run != record.run || manifest->save != record.save) {
    return Status(Code::kDataLoss, path + " is the manifest of another save");
  }
  if (Status whole = CheckManifest(*manifest); !whole.ok()) return std::move(whole).While(path);
  return manifest;
}

Result<std::optional<Checkpoint>> Load(Store& store, const std::string& run,
                                       const Allocate& allocate) {
  RETURN_IF_ERROR(CheckRunName(run));
  for (int starts = 1;; ++starts) {
    auto newest = FindNewest(store, run);
    Status failed;
    std::optional<CommitId> reading;
    if (!newest.ok()) {
      failed = std::move(newest).status();
    } else if (!newest->record.has_value()) {
      return std::optional<Checkpoint>();
    } else {
      Checkpoint checkpoint{.record = *newest->record, .notes = newest->notes};
      reading = IdOf(checkpoint.record.save);
      failed = LoadRecord(store, allocate, checkpoint);
      if (failed.ok()) return std::optional<Checkpoint>(std::move(checkpoint));
    }
    // Only a commit that is no more may be passed over for another.
    const bool gone = reading.has_value()
                          ? ReadCommit(store, run, *reading).status().code() == Code::kNotFound
                          : failed.code() == Code::kNotFound;
    if (!gone || starts == kStartsMax) return std::move(failed).While("loading run " + run);
  }
}

}  // namespace muster::checkpoint
