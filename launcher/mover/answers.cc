#include "launcher/mover/answers.h"

#include <algorithm>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/shard.h"

namespace muster::mover {
namespace {

checkpoint::SaveId SaveOf(const auto& request) {
  return {.generation = request.generation, .step = request.step, .nonce = request.nonce};
}

}  // namespace

FromMover FailedWith(const Status& status) {
  return Failed{.code = status.code(), .text = status.message()};
}

FromMover Answer(const Opening& at, const Claim& claim, std::uint64_t nonce, std::int64_t now_ms) {
  const auto generation = checkpoint::Claim(at.store, at.run, nonce, now_ms, claim.attempt);
  if (!generation.ok()) return FailedWith(generation.status());
  return Claimed{.generation = *generation, .nonce = nonce};
}

FromMover Answer(const Opening& at, const Write& write, std::span<const std::byte> memory) {
  auto report = checkpoint::WriteShard(at.store,
                                       {.run = at.run,
                                        .save = SaveOf(write),
                                        .node = write.node,
                                        .nodes = write.nodes,
                                        .again = write.again},
                                       write.tensors, memory);
  if (!report.ok()) {
    return FailedWith(
        std::move(report).status().While("writing step " + std::to_string(write.step)));
  }
  return Written{.report = *std::move(report)};
}

FromMover Answer(const Opening& at, const Commit& commit, std::int64_t now_ms) {
  const auto record = checkpoint::Commit(at.store, {.run = at.run,
                                                    .save = SaveOf(commit),
                                                    .nodes = commit.nodes,
                                                    .reports = commit.reports,
                                                    .host_state = commit.host_state,
                                                    .topology = commit.topology,
                                                    .time_ms = now_ms,
                                                    .again = commit.again});
  if (!record.ok()) return FailedWith(record.status());
  return Committed{.step = record->save.step, .bytes = record->bytes};
}

FromMover Answer(const Opening& at, const Load& /*load*/, const checkpoint::Allocate& allocate) {
  auto loaded = checkpoint::Load(at.store, at.run, allocate);
  if (!loaded.ok()) return FailedWith(loaded.status());
  if (!loaded->has_value()) return Loaded{.found = false};
  checkpoint::Checkpoint& checkpoint = **loaded;
  return Loaded{.found = true,
                .generation = checkpoint.record.save.generation,
                .step = checkpoint.record.save.step,
                .tensors = std::move(checkpoint.tensors),
                .host_state = std::move(checkpoint.manifest.host_state),
                .notes = std::move(checkpoint.notes)};
}

Status LetGoAfter(const Opening& at, const Commit& commit) {
  const auto freed = checkpoint::LetGo(at.store, at.run, checkpoint::IdOf(SaveOf(commit)),
                                       std::max<std::size_t>(commit.keep, 1));
  return freed.ok() ? Status() : freed.status();
}

}  // namespace muster::mover
