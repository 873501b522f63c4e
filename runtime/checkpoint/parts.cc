#include "runtime/checkpoint/parts.h"

#include <algorithm>
#include <cstring>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {
namespace {

constexpr std::string_view kMagic = "MSTPART2";
constexpr std::string_view kPartBegin = "part-";
constexpr std::uint64_t kPartMax = std::uint64_t{1} << 30U;
constexpr std::uint64_t kSlice = 8;  // MiB that are moved at a time.

std::string PartName(const mover::ShardReport& report) {
  char text[64];
  std::snprintf(text, sizeof text, "part-%05u-of-%05u.muster", report.node, report.nodes);
  return text;
}

std::string EncodePart(const mover::Part& part) {
  const std::string body = EncodeWire(part);
  return std::string(kMagic) + CrcText(Crc32c(std::as_bytes(std::span(body)))) + body;
}

Result<mover::Part> DecodePart(const std::string& text) {
  const std::string crc = CrcText(0);
  const std::size_t head = kMagic.size() + crc.size();
  const std::string body = text.size() < head ? "" : text.substr(head);
  if (text.size() < head || !text.starts_with(kMagic) ||
      text.substr(kMagic.size(), crc.size()) != CrcText(Crc32c(std::as_bytes(std::span(body))))) {
    return Status(Code::kDataLoss, "a part that is torn");
  }
  return DecodeWire<mover::Part>(body);
}

// Folders and files that are not there are fine.
Status RemoveFiles(Store& store, const std::string& folder) {
  const auto names = store.List(folder);
  if (names.status().code() == Code::kNotFound) return {};
  if (!names.ok()) return names.status();
  // The part first: a shard without one is no part, whatever stops this half-way.
  for (const bool parts : {true, false}) {
    for (const std::string& name : *names) {
      if (name.starts_with(kPartBegin) == parts) {
        RETURN_IF_ERROR(UnlinkIfThere(store, folder + "/" + name));
      }
    }
  }
  const Status removed = store.RemoveFolder(folder);
  return removed.code() == Code::kNotFound ? Status() : removed;
}

// The store has not said: neither that it is there, nor that it is not, or not whole.
bool IsUnclear(const Status& seen) {
  return !seen.ok() && seen.code() != Code::kNotFound && seen.code() != Code::kDataLoss;
}

Result<std::vector<mover::Part>> PartsIn(Store& store, const std::string& folder,
                                         const SaveId& save) {
  const auto names = store.List(folder);
  if (!names.ok()) return names.status();
  std::vector<mover::Part> parts;
  for (const std::string& name : *names) {
    if (!name.starts_with(kPartBegin)) continue;
    const auto text = ReadWhole(store, folder + "/" + name, kPartMax);
    if (IsUnclear(text.status())) return text.status();
    if (!text.ok()) continue;
    auto part = DecodePart(*text);
    if (!part.ok() || SaveOf(part->save) != save || PartName(part->report) != name) continue;
    const Status sized = CheckSize(store, folder + "/" + part->report.file, part->report.size);
    if (IsUnclear(sized)) return sized;
    if (!sized.ok()) continue;
    parts.push_back(*std::move(part));
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.report.node < b.report.node; });
  return parts;
}

Status CopyBlocks(Store& local, const std::string& path, const mover::ShardReport& report,
                  StoreFile& file) {
  std::vector<std::byte> slice;
  for (std::uint64_t first = 0; first < report.crcs.size(); first += kSlice) {
    const std::size_t count = std::min<std::size_t>(kSlice, report.crcs.size() - first);
    const Blocks blocks{.path = path,
                        .file_size = report.size,
                        .first = first,
                        .crcs = std::span(report.crcs).subspan(first, count)};
    slice.resize(blocks.bytes());
    RETURN_IF_ERROR(ReadBlocksInto(local, blocks, slice));
    RETURN_IF_ERROR(file.WriteAt(blocks.begin(), slice));
  }
  return file.SyncAndClose();
}

}  // namespace

Status KeepPart(Store& local, const std::string& run, const mover::Part& part) {
  const std::string folder = FolderOf(run, SaveOf(part.save));
  const std::string path = folder + "/" + PartName(part.report);
  RETURN_IF_ERROR(UnlinkIfThere(local, path));  // A mover died over it.
  RETURN_IF_ERROR(WriteWhole(local, path, EncodePart(part)));
  return local.SyncFolder(folder);
}

Result<std::vector<mover::Part>> FindSave(Store& store, const std::string& run,
                                          const SaveId& save) {
  RETURN_IF_ERROR(CheckRunName(run));
  return PartsIn(store, FolderOf(run, save), save);
}

Result<std::vector<mover::Part>> FindParts(Store& local, const std::string& run) {
  RETURN_IF_ERROR(CheckRunName(run));
  RETURN_IF_ERROR(local.MakeFolder(run));
  RETURN_IF_ERROR(local.MakeFolder(DataFolder(run)));
  const auto names = local.List(DataFolder(run));
  if (!names.ok()) return names.status();
  std::vector<mover::Part> parts;
  for (const std::string& name : *names) {
    const auto save = ParseSaveName(name);
    if (!save.has_value()) continue;
    const std::string folder = DataFolder(run) + "/" + name;
    auto found = PartsIn(local, folder, *save);
    if (IsUnclear(found.status())) continue;  // It stays: the next attempt may see more.
    if (found.ok() && !found->empty()) {
      parts.push_back(std::move(found->front()));
    } else {
      RETURN_IF_ERROR(RemoveFiles(local, folder));
    }
  }
  std::sort(parts.begin(), parts.end(),
            [](const auto& a, const auto& b) { return a.save < b.save; });
  return parts;
}

Status DropParts(Store& local, const std::string& run, std::span<const SaveId> saves) {
  for (const SaveId& save : saves) RETURN_IF_ERROR(RemoveFiles(local, FolderOf(run, save)));
  return {};
}

Status DropRun(Store& local, const std::string& run) {
  RETURN_IF_ERROR(CheckRunName(run));
  const auto names = local.List(DataFolder(run));
  if (!names.ok() && names.status().code() != Code::kNotFound) return names.status();
  if (names.ok()) {
    for (const std::string& name : *names) {
      RETURN_IF_ERROR(RemoveFiles(local, DataFolder(run) + "/" + name));
    }
  }
  for (const std::string& folder : {DataFolder(run), run}) {
    const Status removed = local.RemoveFolder(folder);
    if (!removed.ok() && removed.code() != Code::kNotFound) return removed;
  }
  return {};
}

Result<mover::ShardReport> MovePart(const RunIn& local, const RunIn& shared,
                                    const mover::Part& part, bool again) {
  const mover::ShardReport& report = part.report;
  if (report.node >= report.nodes || report.file != ShardName(report.node, report.nodes) ||
      report.crcs.size() != (report.size + kBlock - 1) / kBlock) {
    return Status(Code::kInvalid, "a part that does not fit together");
  }
  const std::string from = FolderOf(local.run, SaveOf(part.save)) + "/" + report.file;
  const std::string folder = FolderOf(shared.run, SaveOf(part.save));
  const std::string path = folder + "/" + report.file;
  RETURN_IF_ERROR(CheckSize(local.store, from, report.size));
  RETURN_IF_ERROR(shared.store.MakeFolder(folder));
  RETURN_IF_ERROR(shared.store.SyncFolder(DataFolder(shared.run)));
  const std::string temporary = folder + "/" + TemporaryName(report.file);
  if (again) RETURN_IF_ERROR(UnlinkIfThere(shared.store, temporary));
  auto file = shared.store.Create(temporary);
  if (!file.ok()) return std::move(file).status();
  Status done = CopyBlocks(local.store, from, report, **file);
  if (done.ok()) {
    done = NameShard(shared.store, temporary,
                     {.path = path, .file_size = report.size, .crcs = report.crcs});
  }
  static_cast<void>(shared.store.Unlink(temporary));
  RETURN_IF_ERROR(done);
  RETURN_IF_ERROR(shared.store.SyncFolder(folder));
  return report;
}

}  // namespace muster::checkpoint
