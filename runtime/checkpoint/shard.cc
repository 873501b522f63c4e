#include "runtime/checkpoint/shard.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/checkpoint/safetensors.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kSlice = 8 * kBlock;  // One write or read.

// Appends to a file MiB by MiB, with the CRC of each.
class BlockWriter {
 public:
  explicit BlockWriter(StoreFile& file) : file_(file) {}

  Status Append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (held_.empty() && bytes.size() >= kBlock) {
        RETURN_IF_ERROR(Write(bytes.first(kBlock)));
        bytes = bytes.subspan(kBlock);
        continue;
      }
      const std::size_t n = std::min(bytes.size(), kBlock - held_.size());
      held_.insert(held_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      bytes = bytes.subspan(n);
      if (held_.size() == kBlock) RETURN_IF_ERROR(Flush());
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
  // So small that what the CRC has read is written from the cache.
  Status Write(std::span<const std::byte> block) {
    crcs_.push_back(Crc32c(block));
    RETURN_IF_ERROR(file_.WriteAt(at_, block));
    at_ += block.size();
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
  // Neighbours in memory go as one, or each would be copied to make whole MiB.
  for (std::size_t k = 0; status.ok() && k < layout.order.size();) {
    const std::uint64_t begin = from[layout.order[k]];
    std::uint64_t end = begin;
    for (; k < layout.order.size() && from[layout.order[k]] == end; ++k) {
      end += BoxBytes(tensors[layout.order[k]]);
    }
    status = writer.Append(bytes.subspan(begin, end - begin));
  }
  if (status.ok()) status = writer.Flush();
  if (status.ok()) status = (*file)->SyncAndClose();
  if (!status.ok()) return status;
  return writer.TakeCrcs();
}

Status CheckBlock(std::span<const std::byte> block, std::size_t due, std::uint32_t crc_due) {
  if (block.size() < due) return Status(Code::kDataLoss, "the file ends too early");
  const std::uint32_t crc = Crc32c(block);
  if (crc == crc_due) return {};
  return Status(Code::kDataLoss, "CRC-32C is " + CrcText(crc) + ", should be " + CrcText(crc_due));
}

// `good` gets the blocks that hold; `bad` says whether to go on after one that does not.  A slice
// is read into `into`, or, when that is empty, into memory that the next one reuses.
void WalkBlocks(Store& store, const Blocks& blocks, std::span<std::byte> into,
                const ShardSink& good,
                const std::function<bool(std::uint64_t mib, Status what)>& bad) {
  std::vector<std::byte> own;
  const std::uint64_t all = blocks.bytes();
  for (std::uint64_t at = 0; at < all; at += kSlice) {
    const std::uint64_t length = std::min<std::uint64_t>(kSlice, all - at);
    if (into.empty()) own.resize(length);
    const std::span<std::byte> slice = into.empty() ? own : into.subspan(at, length);
    const auto read = store.Read(blocks.path, blocks.begin() + at, slice);
    if (!read.ok()) {
      if (!bad(blocks.first + at / kBlock, read.status())) return;
      continue;
    }
    for (std::size_t from = 0; from < slice.size(); from += kBlock) {
      const std::size_t index = (at + from) / kBlock;
      const std::size_t due = std::min(kBlock, slice.size() - from);
      const std::size_t there = from < *read ? std::min(due, *read - from) : 0;
      const auto block = std::span<const std::byte>(slice).subspan(from, there);
      Status held = CheckBlock(block, due, blocks.crcs[index]);
      if (held.ok()) {
        good(blocks.begin() + at + from, block);
      } else if (!bad(blocks.first + index, std::move(held))) {
        return;
      }
    }
  }
}

Status Walk(Store& store, const Blocks& blocks, std::span<std::byte> into, const ShardSink& sink) {
  Status status;
  WalkBlocks(store, blocks, into, sink, [&](std::uint64_t mib, Status what) {
    status = std::move(what).While(blocks.path + ": MiB " + std::to_string(mib));
    return false;
  });
  return status;
}

std::string PathOf(const std::string& folder, const ManifestFile& file) {
  return folder + "/" + std::string(file.name);
}

}  // namespace

Status NameShard(Store& store, const std::string& temporary, const Blocks& whole) {
  Status linked = store.Link(temporary, whole.path);
  if (linked.ok()) return linked;
  // A writer before this one may have come so far, or only the reply was lost.
  Status there = CheckSize(store, whole.path, whole.file_size);
  if (there.ok()) there = ReadBlocks(store, whole, [](auto, auto) {});
  if (there.code() == Code::kNotFound) return linked;
  return std::move(there).While("after link: " + linked.message());
}

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
  const std::string temporary = folder + "/" + TemporaryName(name);
  if (place.again) RETURN_IF_ERROR(UnlinkIfThere(store, temporary));
  auto crcs = WriteFile(store, temporary, *layout, tensors, bytes);
  if (!crcs.ok()) {
    // A full disk gets its room back now; whatever stays is rubbish for gc.
    if (crcs.status().code() != Code::kExists) static_cast<void>(store.Unlink(temporary));
    return std::move(crcs).status();
  }
  Status named = NameShard(store, temporary,
                           {.path = folder + "/" + name, .file_size = layout->size, .crcs = *crcs});
  static_cast<void>(store.Unlink(temporary));
  if (!named.ok()) return named;
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

Blocks BlocksOf(const std::string& folder, const ManifestFile& file, std::uint64_t first,
                std::uint64_t count) {
  return {.path = PathOf(folder, file),
          .file_size = file.size,
          .first = first,
          .crcs = file.crcs.subspan(first, count)};
}

Status ReadBlocks(Store& store, const Blocks& blocks, const ShardSink& sink) {
  return Walk(store, blocks, {}, sink);
}

Status ReadBlocksInto(Store& store, const Blocks& blocks, std::span<std::byte> into) {
  CHECK(into.size() == blocks.bytes());
  return Walk(store, blocks, into, [](auto, auto) {});
}

Status CheckSize(Store& store, const std::string& path, std::uint64_t due) {
  const auto size = store.Size(path);
  if (!size.ok()) return size.status();
  if (*size == due) return {};
  return Status(Code::kDataLoss, path + " has " + std::to_string(*size) + " bytes, should have " +
                                     std::to_string(due));
}

std::vector<Damage> FindDamage(Store& store, const std::string& folder, const ManifestFile& file) {
  const std::string path = PathOf(folder, file);
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
      store, BlocksOf(folder, file, 0, file.crcs.size()), {}, [](auto, auto) {},
      [&](std::uint64_t mib, const Status& what) {
        damage.push_back({.path = path, .mib = mib, .what = what.message()});
        return true;
      });
  return damage;
}

Status ProbeShard(Store& store, const std::string& folder, const ManifestFile& file) {
  RETURN_IF_ERROR(CheckSize(store, PathOf(folder, file), file.size));
  const std::size_t blocks = file.crcs.size();
  const ShardSink drop = [](auto, auto) {};
  if (blocks > 0) RETURN_IF_ERROR(ReadBlocks(store, BlocksOf(folder, file, 0, 1), drop));
  if (blocks > 1) RETURN_IF_ERROR(ReadBlocks(store, BlocksOf(folder, file, blocks - 1, 1), drop));
  return {};
}

}  // namespace muster::checkpoint
