// Where checkpoints go: to the job daemon's mover, over the link, or straight to a store when there
// is no launcher.  One thread, that of the node's leader.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/link_posix.h"
#include "runtime/checkpoint/store.h"
#include "runtime/train/checkpoint.h"

namespace muster {

class LinkSink final : public CheckpointSink {
 public:
  explicit LinkSink(RankLink& link) : link_(link) {}
  ~LinkSink() override;
  LinkSink(const LinkSink&) = delete;
  LinkSink& operator=(const LinkSink&) = delete;

  Result<std::optional<checkpoint::Manifest>> OpenNewest() override;
  Result<std::span<const std::byte>> Read(const checkpoint::SaveId& save,
                                          const checkpoint::ManifestFile& file, std::uint64_t first,
                                          std::uint64_t blocks) override;
  Duration patience() const override;
  Status Save(const StagedShard& shard) override;
  Status Skip(std::uint64_t step) override;
  Result<std::vector<link::Saved>> Poll(Duration timeout) override;

 private:
  struct ReadMemory {
    std::string name;
    std::span<std::byte> bytes;  // The mover reads into it.
  };
  Status MapOnce(ReadMemory& memory);

  RankLink& link_;
  std::array<ReadMemory, 2> memories_ = {
      {{"checkpoint.read0", {}}, {"checkpoint.read1", {}}}};  // In turn.
};

// Writes and commits within Save: training waits for the store.  One node's leader saves; those of
// other nodes only load, from the same folder.
class DirectSink final : public CheckpointSink {
 public:
  // `folder` is made when it is not there.  Takes the run's next generation (D6).
  static Result<std::unique_ptr<CheckpointSink>> Open(const std::string& folder,
                                                      const std::string& run);
  // Takes none, and never saves.
  static Result<std::unique_ptr<CheckpointSink>> OpenToLoad(const std::string& folder,
                                                            const std::string& run);

  Result<std::optional<checkpoint::Manifest>> OpenNewest() override;
  Result<std::span<const std::byte>> Read(const checkpoint::SaveId& save,
                                          const checkpoint::ManifestFile& file, std::uint64_t first,
                                          std::uint64_t blocks) override;
  Status Save(const StagedShard& shard) override;
  Status Skip(std::uint64_t step) override;
  Result<std::vector<link::Saved>> Poll(Duration timeout) override;

 private:
  DirectSink(std::unique_ptr<checkpoint::Store> store, std::string run, std::uint64_t generation)
      : store_(std::move(store)), run_(std::move(run)), generation_(generation) {}

  const std::unique_ptr<checkpoint::Store> store_;
  const std::string run_;
  const std::uint64_t generation_;  // 0: only loads.
  std::vector<link::Saved> saved_;
  std::array<std::vector<std::byte>, 2> read_;  // In turn.
};

}  // namespace muster
