// One writer's part of a save: a safetensors file, its CRCs, and the report about it.
//
// The file is whole, durable and closed when WriteShard returns; it gets its name, by link(2), when
// it is whole, and keeps it.  What a failure leaves no commit names.  Reading trusts nothing: no
// byte is handed on before the CRC of its MiB held.  One thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct ShardPlace {
  std::string run;
  SaveId save;
  std::uint32_t node = 0, nodes = 1;
  bool again = false;  // A writer of this very shard died over it.
};

// `bytes`: the tensors' bytes one after the other, in their order.
Result<ShardReport> WriteShard(Store& store, const ShardPlace& place,
                               std::span<const StagedTensor> tensors,
                               std::span<const std::byte> bytes);

// Some MiB of a file.  Whoever has the manifest fills it in; nothing else is needed to read them.
struct Blocks {
  std::string path;  // In the store.
  std::uint64_t file_size = 0;
  std::uint64_t first = 0;              // The first MiB.
  std::span<const std::uint32_t> crcs;  // Of each of them.
  std::uint64_t begin() const { return first * kBlock; }
  std::uint64_t bytes() const {
    return begin() > file_size ? 0 : std::min(crcs.size() * kBlock, file_size - begin());
  }
};
Blocks BlocksOf(const std::string& folder, const ManifestFile& file, std::uint64_t first,
                std::uint64_t count);

// Gives a whole shard its name, once and never taken back: a request of a writer that died may
// still be under way, and take effect at any time.  Fine, too, if an earlier writer came so far.
Status NameShard(Store& store, const std::string& temporary, const Blocks& whole);

// Bytes whose CRC held, at their place in the file, in order.
using ShardSink = std::function<void(std::uint64_t begin, std::span<const std::byte> bytes)>;

// The first damage, with file and MiB: kDataLoss.
Status ReadBlocks(Store& store, const Blocks& blocks, const ShardSink& sink);
// Straight into memory of blocks.bytes().
Status ReadBlocksInto(Store& store, const Blocks& blocks, std::span<std::byte> into);
// That the file is as long as it should be.
Status CheckSize(Store& store, const std::string& path, std::uint64_t size);

struct Damage {
  std::string path;
  std::uint64_t mib = 0;  // Which MiB of the file, from 0.
  std::string what;
  std::uint64_t begin = 0, end = 0;  // Bytes of the file that are meant; as exactly as is known.
  std::vector<std::string> tensors;  // Whose bytes these are; the first few.
  bool operator==(const Damage&) const = default;
};

// All damage to the file, whatever it is.
std::vector<Damage> FindDamage(Store& store, const std::string& folder, const ManifestFile& file);

// Whether a shard is there with its size and its first and last MiB hold: what a committer, which
// did not write it, can tell at little cost.
Status ProbeShard(Store& store, const std::string& folder, const ManifestFile& file);

}  // namespace muster::checkpoint
