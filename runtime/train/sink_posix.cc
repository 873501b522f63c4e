#include "runtime/train/sink_posix.h"

#include <sys/mman.h>

#include <cerrno>

#include "runtime/base/check.h"
#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/store_posix.h"
#include "runtime/checkpoint/whole.h"

namespace muster {
namespace {

constexpr auto kLoadTimeout = std::chrono::minutes(30);

std::int64_t WallMs() {
  const auto since_epoch = RealClock().Wall().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

// The bytes of a descriptor, mapped for as long as somebody holds the owner.
Result<std::span<const std::byte>> Map(const UniqueFd& fd, std::size_t bytes,
                                       std::shared_ptr<const void>& owner) {
  if (bytes == 0) return std::span<const std::byte>();
  void* address = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus("mapping the checkpoint", errno);
  owner = std::shared_ptr<const void>(
      address, [bytes](const void* at) { munmap(const_cast<void*>(at), bytes); });
  return std::span<const std::byte>(static_cast<const std::byte*>(address), bytes);
}

}  // namespace

Result<std::optional<LoadedCheckpoint>> LinkSink::Load() {
  auto loaded = link_.Load(kLoadTimeout);
  if (!loaded.ok()) return std::move(loaded).status();
  if (!loaded->what.found) return std::optional<LoadedCheckpoint>();
  LoadedCheckpoint checkpoint{.step = loaded->what.step,
                              .tensors = std::move(loaded->what.tensors),
                              .host_state = std::move(loaded->what.host_state)};
  auto bytes = Map(loaded->fd, checkpoint::TotalBytes(checkpoint.tensors), checkpoint.owner);
  if (!bytes.ok()) return std::move(bytes).status();
  checkpoint.bytes = *bytes;
  return std::optional(std::move(checkpoint));
}

Status LinkSink::Save(const StagedShard& shard) {
  return link_.Stage({.step = shard.step,
                      .memory = shard.memory,
                      .tensors = shard.tensors,
                      .host_state = shard.host_state});
}

Result<std::vector<link::Saved>> LinkSink::Poll(Duration timeout) {
  std::vector<link::Saved> saved = link_.TakeSaved();
  if (!saved.empty()) return saved;
  RETURN_IF_ERROR(link_.Poll(timeout));
  return link_.TakeSaved();
}

Result<std::unique_ptr<CheckpointSink>> DirectSink::Open(const std::string& folder,
                                                         const std::string& run) {
  RETURN_IF_ERROR(MakeFolders(folder));
  auto store = checkpoint::OpenStore(folder);
  if (!store.ok()) return std::move(store).status();
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return nonce.status();
  const auto generation = checkpoint::Claim(**store, run, *nonce, WallMs());
  if (!generation.ok()) return generation.status();
  return std::unique_ptr<CheckpointSink>(new DirectSink(*std::move(store), run, *generation));
}

Result<std::unique_ptr<CheckpointSink>> DirectSink::OpenToLoad(const std::string& folder,
                                                               const std::string& run) {
  RETURN_IF_ERROR(MakeFolders(folder));
  auto store = checkpoint::OpenStore(folder);
  if (!store.ok()) return std::move(store).status();
  return std::unique_ptr<CheckpointSink>(new DirectSink(*std::move(store), run, 0));
}

Result<std::optional<LoadedCheckpoint>> DirectSink::Load() {
  auto newest = checkpoint::LoadNewest(*store_, run_);
  if (!newest.ok()) return std::move(newest).status();
  if (!*newest) return std::optional<LoadedCheckpoint>();
  const auto kept = std::make_shared<checkpoint::LoadedCheckpoint>(std::move(**newest));
  return std::optional(LoadedCheckpoint{.step = kept->step,
                                        .tensors = kept->tensors,
                                        .host_state = kept->host_state,
                                        .bytes = kept->bytes,
                                        .owner = kept});
}

Status DirectSink::Save(const StagedShard& shard) {
  CHECK(generation_ > 0);
  const auto nonce = checkpoint::FreshNonce();
  if (!nonce.ok()) return nonce.status();
  const Status status = checkpoint::SaveWhole(
      *store_, run_, {.generation = generation_, .step = shard.step, .nonce = *nonce},
      {.tensors = shard.tensors, .bytes = shard.bytes, .host_state = shard.host_state}, WallMs());
  if (status.code() == Code::kAborted) return status;  // Overtaken: this run must end.
  saved_.push_back({.step = shard.step, .error = status.message()});
  return {};
}

Result<std::vector<link::Saved>> DirectSink::Poll(Duration) {
  return std::exchange(saved_, {});
}

}  // namespace muster
