// A store in memory, behind several nodes: commits a step once every node's shard of it is there.
//
// Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "tests/fakes/faulty_store.h"

namespace muster::checkpoint {

class CommitStore {
 public:
  explicit CommitStore(std::uint32_t nodes) : nodes_(nodes) {}

  // A node that saves a step again, before all have, begins that save anew.
  void Save(std::uint32_t node, std::uint64_t step, std::span<const StagedTensor> tensors,
            std::span<const std::byte> bytes, const std::string& host_state);
  Result<std::optional<Manifest>> OpenNewest();
  // Some MiB of a file, whose CRCs held.
  Result<std::vector<std::byte>> Read(const SaveId& save, const std::string& file,
                                      std::uint64_t file_size, std::uint64_t first,
                                      std::span<const std::uint32_t> crcs);
  std::vector<std::uint64_t> Steps() const;  // Committed; sorted.
  // Has what the other one has committed, and nothing else.
  void Take(const CommitStore& other);
  // Bytes of shards that were read from here, and how many the newest checkpoint has.
  std::uint64_t bytes_read() const;
  std::uint64_t bytes_of_newest();

 private:
  struct Pending {
    SaveId save;
    std::map<std::uint32_t, ShardReport> reports;  // By node.
  };
  const std::uint32_t nodes_;
  mutable Mutex mutex_;
  std::unique_ptr<FaultyStore> store_ GUARDED_BY(mutex_) = std::make_unique<FaultyStore>();
  std::map<std::uint64_t, Pending> pending_ GUARDED_BY(mutex_);
  std::uint64_t bytes_read_ GUARDED_BY(mutex_) = 0;
};

}  // namespace muster::checkpoint
