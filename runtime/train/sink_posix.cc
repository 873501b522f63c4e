#include "runtime/train/sink_posix.h"

#include <sys/mman.h>

#include <cerrno>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/store_posix.h"
#include "runtime/checkpoint/whole.h"
#include "runtime/train/memory_posix.h"

namespace muster {
namespace {

constexpr auto kLoadTimeout = std::chrono::minutes(30);
constexpr auto kMemoryTimeout = std::chrono::seconds(60);
constexpr std::uint64_t kReadBytes = std::uint64_t{16} << 20U;  // The most that is read at a time.

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

LinkSink::~LinkSink() {
  for (const ReadMemory& memory : memories_) {
    if (!memory.bytes.empty()) munmap(memory.bytes.data(), memory.bytes.size());
  }
}

Result<std::optional<checkpoint::Manifest>> LinkSink::OpenNewest() {
  const auto opened = link_.OpenCheckpoint(kLoadTimeout);
  if (!opened.ok()) return opened.status();
  if (!*opened) return std::optional<checkpoint::Manifest>();
  std::shared_ptr<const void> owner;
  const auto bytes = Map((*opened)->fd, (*opened)->bytes, owner);
  if (!bytes.ok()) return bytes.status();
  auto manifest = checkpoint::Manifest::Parse(*bytes, owner);
  if (!manifest.ok()) return std::move(manifest).status();
  return std::optional(*std::move(manifest));
}

Status LinkSink::MapOnce(ReadMemory& memory) {
  if (!memory.bytes.empty()) return {};
  const auto got = link_.GetMemory(memory.name, kReadBytes, kMemoryTimeout);
  if (!got.ok()) return got.status();
  const auto mapped = MapShared(got->fd.get(), memory.name, kReadBytes);
  if (mapped.ok()) memory.bytes = *mapped;
  return mapped.status();
}

Result<std::span<const std::byte>> LinkSink::Read(const checkpoint::SaveId& save,
                                                  const checkpoint::ManifestFile& file,
                                                  std::uint64_t first, std::uint64_t blocks) {
  std::swap(memories_[0], memories_[1]);
  RETURN_IF_ERROR(MapOnce(memories_[0]));
  const checkpoint::Blocks wanted = checkpoint::BlocksOf("", file, first, blocks);
  CHECK(wanted.bytes() <= kReadBytes);
  RETURN_IF_ERROR(link_.ReadBlocks({.memory = memories_[0].name,
                                    .generation = save.generation,
                                    .step = save.step,
                                    .nonce = save.nonce,
                                    .file = std::string(file.name),
                                    .file_size = file.size,
                                    .first = first,
                                    .crcs = {wanted.crcs.begin(), wanted.crcs.end()}},
                                   kLoadTimeout));
  return std::span<const std::byte>(memories_[0].bytes.first(wanted.bytes()));
}

// The other node's mover gives up after checkpoint.deadline, and that node tells so; by then it may
// have waited as long for a third one, whose mover did.
Duration LinkSink::patience() const {
  const auto text = GetEnv("MUSTER_CHECKPOINT_DEADLINE_MS");
  const auto ms = text ? ParseUnsigned(*text) : std::nullopt;
  return ms.value_or(0) == 0 ? kReadPatience : 3 * Duration(std::chrono::milliseconds(*ms));
}

Status LinkSink::Save(const StagedShard& shard) {
  return link_.Stage({.step = shard.step,
                      .memory = shard.memory,
                      .tensors = shard.tensors,
                      .host_state = shard.host_state});
}

Status LinkSink::Skip(std::uint64_t step) {
  return link_.Stage({.step = step});
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

Result<std::optional<checkpoint::Manifest>> DirectSink::OpenNewest() {
  auto opened = checkpoint::OpenNewest(*store_, run_);
  if (!opened.ok()) return std::move(opened).status();
  if (!*opened) return std::optional<checkpoint::Manifest>();
  return std::optional((*opened)->manifest);
}

Result<std::span<const std::byte>> DirectSink::Read(const checkpoint::SaveId& save,
                                                    const checkpoint::ManifestFile& file,
                                                    std::uint64_t first, std::uint64_t blocks) {
  const checkpoint::Blocks wanted =
      checkpoint::BlocksOf(checkpoint::FolderOf(run_, save), file, first, blocks);
  RETURN_IF_ERROR(CheckSize(*store_, wanted.path, wanted.file_size));
  std::swap(read_[0], read_[1]);
  read_[0].resize(wanted.bytes());
  RETURN_IF_ERROR(ReadBlocksInto(*store_, wanted, read_[0]));
  return std::span<const std::byte>(read_[0]);
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

// It saves at once, so its memories are always free.
Status DirectSink::Skip(std::uint64_t step) {
  return Status(Code::kInternal, "step " + std::to_string(step) + " was skipped for no reason");
}

Result<std::vector<link::Saved>> DirectSink::Poll(Duration) {
  return std::exchange(saved_, {});
}

}  // namespace muster
