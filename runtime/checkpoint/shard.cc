#include "runtime/checkpoint/shard.h"

#include <algorithm>
#include <cstring>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/safetensors.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kSlice = 8 * kBlock;  // One write or read.

// Appends to a file in large writes that begin at whole MiB, with the CRC of each MiB.
class BlockWriter {
 public:
  explicit BlockWriter(StoreFile& file) : file_(file) {}

  Status Append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (held_.empty() && bytes.size() >= kSlice) {
        RETURN_IF_ERROR(Write(bytes.first(kSlice)));
        bytes = bytes.subspan(kSlice);
        continue;
      }
      const std::size_t n = std::min(bytes.size(), kSlice - held_.size());
      held_.insert(held_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      bytes = bytes.subspan(n);
      if (held_.size() == kSlice) RETURN_IF_ERROR(Flush());
    }
    return {};
  }

  Status Flush() {
    if (held_.empty()) return {};
    RETURN_IF_ERROR(Write(held_));
    held_.clear();
    return {};
  }

  std::vector<std::uint32_t> TakeCrcs() { return std::move(crcs_); }

 private:
  Status Write(std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
      crcs_.push_back(Crc32c(bytes.subspan(at, std::min(kBlock, bytes.size() - at))));
    }
    RETURN_IF_ERROR(file_.WriteAt(at_, bytes));
    at_ += bytes.size();
    return {};
  }

  StoreFile& file_;
  std::uint64_t at_ = 0;
  std::vector<std::byte> held_;
  std::vector<std::uint32_t> crcs_;
};

Result<std::vector<std::uint32_t>> WriteFile(Store& store, const std::string& path,
                                             const ShardLayout& layout,
                                             std::span<const StagedTensor> tensors,
                                             std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> from(tensors.size());
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    from[i] = at;
    at += BoxBytes(tensors[i]);
  }
  auto file = store.Create(path);
  if (!file.ok()) return std::move(file).status();
  BlockWriter writer(**file);
  Status status = writer.Append(std::as_bytes(std::span(layout.header)));
  for (const std::size_t i : layout.order) {
    if (status.ok()) status = writer.Append(bytes.subspan(from[i], BoxBytes(tensors[i])));
  }
  if (status.ok()) status = writer.Flush();
  if (status.ok()) status = (*file)->SyncAndClose();
  if (!status.ok()) return status;
  return writer.TakeCrcs();
}

// Some MiB of a file: [first, last).
struct Blocks {
  const std::string& path;
  const ManifestFile& file;
  std::size_t first = 0, last = 0;
};

Status CheckBlock(std::span<const std::byte> block, std::size_t due, std::uint32_t crc_due) {
  if (block.size() < due) return Status(Code::kDataLoss, "the file ends too early");
  const std::uint32_t crc = Crc32c(block);
  if (crc == crc_due) return {};
  return Status(Code::kDataLoss, "CRC-32C is " + CrcText(crc) + ", should be " + CrcText(crc_due));
}

// `good` gets the blocks that hold; `bad` says whether to go on after one that does not.
void WalkBlocks(Store& store, const Blocks& blocks, const ShardSink& good,
                const std::function<bool(std::uint64_t mib, Status what)>& bad) {
  std::vector<std::byte> slice;
  for (std::size_t mib = blocks.first; mib < blocks.last;) {
    const std::uint64_t begin = mib * kBlock;
    const std::size_t count = std::min(blocks.last - mib, kSlice / kBlock);
    slice.resize(std::min<std::uint64_t>(count * kBlock, blocks.file.size - begin));
    const auto read = store.Read(blocks.path, begin, slice);
    if (!read.ok()) {
      if (!bad(mib, read.status())) return;
      mib += count;
      continue;
    }
    for (std::size_t from = 0; from < slice.size(); from += kBlock, ++mib) {
      const std::size_t due = std::min(kBlock, slice.size() - from);
      const std::size_t there = from < *read ? std::min(due, *read - from) : 0;
      const auto block = std::span<const std::byte>(slice).subspan(from, there);
      Status held = CheckBlock(block, due, blocks.file.crcs[mib]);
      if (held.ok()) {
        good(begin + from, block);
      } else if (!bad(mib, std::move(held))) {
        return;
      }
    }
  }
}

Status CheckSize(Store& store, const std::string& path, const ManifestFile& file) {
  const auto size = store.Size(path);
  if (!size.ok()) return size.status();
  if (*size == file.size) return {};
  return Status(Code::kDataLoss, path + " has " + std::to_string(*size) + " bytes, should have " +
                                     std::to_string(file.size));
}

Status ReadBlocks(Store& store, const Blocks& blocks, const ShardSink& sink) {
  Status status;
  WalkBlocks(store, blocks, sink, [&](std::uint64_t mib, Status what) {
    status = std::move(what).While(blocks.path + ": MiB " + std::to_string(mib));
    return false;
  });
  return status;
}

}  // namespace

Result<ShardReport> WriteShard(Store& store, const ShardPlace& place,
                               std::span<const StagedTensor> tensors,
                               std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(CheckRunName(place.run));
  if (place.node >= place.nodes) {
    return Status(Code::kInvalid, "node " + std::to_string(place.node) + " of " +
                                      std::to_string(place.nodes) + " nodes");
  }
  const std::string name = ShardName(place.node, place.nodes);
  const auto layout =
      LayoutShard(tensors, {{"format", "pt"},
                            {"muster.run", place.run},
                            {"muster.generation", std::to_string(place.save.generation)},
                            {"muster.step", std::to_string(place.save.step)},
                            {"muster.file", name}});
  if (!layout.ok()) return layout.status();
  if (bytes.size() < TotalBytes(tensors)) {
    return Status(Code::kInvalid, "the memory has " + std::to_string(bytes.size()) +
                                      " bytes, the tensors " + std::to_string(TotalBytes(tensors)));
  }
  const std::string data = DataFolder(place.run);
  const std::string folder = data + "/" + SaveName(place.save);
  RETURN_IF_ERROR(store.MakeFolder(folder));
  RETURN_IF_ERROR(store.SyncFolder(data));
  const std::string path = folder + "/" + name;
  if (place.again) RETURN_IF_ERROR(UnlinkIfThere(store, path));
  auto crcs = WriteFile(store, path, *layout, tensors, bytes);
  if (!crcs.ok()) {
    // A full disk gets its room back now; whatever stays is rubbish for gc.
    if (crcs.status().code() != Code::kExists) static_cast<void>(store.Unlink(path));
    return std::move(crcs).status();
  }
  // The committer syncs it too, but its machine may not know of this name yet.
  RETURN_IF_ERROR(store.SyncFolder(folder));
  return ShardReport{.node = place.node,
                     .nodes = place.nodes,
                     .file = name,
                     .size = layout->size,
                     .crcs = *std::move(crcs),
                     .tensors = {tensors.begin(), tensors.end()},
                     .begins = layout->begins};
}

Status ReadShard(Store& store, const std::string& folder, const ManifestFile& file,
                 const ShardSink& sink) {
  const std::string path = folder + "/" + file.name;
  RETURN_IF_ERROR(CheckSize(store, path, file));
  return ReadBlocks(store, {path, file, 0, file.crcs.size()}, sink);
}

std::vector<Damage> FindDamage(Store& store, const std::string& folder, const ManifestFile& file) {
  const std::string path = folder + "/" + file.name;
  std::vector<Damage> damage;
  if (const auto size = store.Size(path); !size.ok()) {
    damage.push_back({.path = path, .what = size.status().message()});
    return damage;
  } else if (*size != file.size) {
    damage.push_back({.path = path,
                      .mib = std::min(*size, file.size) / kBlock,
                      .what = "has " + std::to_string(*size) + " bytes, should have " +
                              std::to_string(file.size)});
  }
  WalkBlocks(
      store, {path, file, 0, file.crcs.size()}, [](auto, auto) {},
      [&](std::uint64_t mib, const Status& what) {
        damage.push_back({.path = path, .mib = mib, .what = what.message()});
        return true;
      });
  return damage;
}

Status ProbeShard(Store& store, const std::string& folder, const ManifestFile& file) {
  const std::string path = folder + "/" + file.name;
  RETURN_IF_ERROR(CheckSize(store, path, file));
  const std::size_t blocks = file.crcs.size();
  const ShardSink drop = [](auto, auto) {};
  if (blocks > 0) RETURN_IF_ERROR(ReadBlocks(store, {path, file, 0, 1}, drop));
  if (blocks > 1) RETURN_IF_ERROR(ReadBlocks(store, {path, file, blocks - 1, blocks}, drop));
  return {};
}

}  // namespace muster::checkpoint
