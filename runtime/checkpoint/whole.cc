#include "runtime/checkpoint/whole.h"

#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {

Status SaveWhole(Store& store, const std::string& run, const SaveId& save,
                 const WholeCheckpoint& checkpoint, std::int64_t now_ms, std::size_t keep) {
  auto report = WriteShard(store, {.run = run, .save = save}, checkpoint.tensors, checkpoint.bytes);
  if (!report.ok()) {
    return std::move(report).status().While("saving step " + std::to_string(save.step));
  }
  auto record = Commit(
      store, {.run = run,
              .save = save,
              .nodes = 1,
              .reports = {*std::move(report)},
              .texts = {.host_state = checkpoint.host_state, .metadata = checkpoint.metadata},
              .time_ms = now_ms});
  if (!record.ok()) return std::move(record).status();
  // What could not be let go now is let go after the next commit.
  static_cast<void>(LetGo(store, run, IdOf(save), keep));
  return {};
}

Result<std::optional<LoadedCheckpoint>> LoadNewest(Store& store, const std::string& run,
                                                   std::span<const std::string> patterns) {
  LoadedCheckpoint loaded;
  auto checkpoint = Load(
      store, run,
      [&](std::uint64_t bytes) -> Result<std::span<std::byte>> {
        loaded.bytes.resize(bytes);
        return std::span<std::byte>(loaded.bytes);
      },
      patterns);
  if (!checkpoint.ok()) return std::move(checkpoint).status();
  if (!checkpoint->has_value()) return std::optional<LoadedCheckpoint>();
  loaded.generation = (*checkpoint)->record.save.generation;
  loaded.step = (*checkpoint)->record.save.step;
  loaded.tensors = std::move((*checkpoint)->tensors);
  loaded.host_state = (*checkpoint)->manifest.Member(kMemberHostState);
  loaded.metadata = (*checkpoint)->manifest.Member(kMemberMetadata);
  loaded.notes = std::move((*checkpoint)->notes);
  return std::optional<LoadedCheckpoint>(std::move(loaded));
}

}  // namespace muster::checkpoint
