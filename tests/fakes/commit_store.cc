#include "tests/fakes/commit_store.h"

#include <algorithm>
#include <set>

#include "runtime/base/check.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {
namespace {

constexpr char kRunName[] = "run";

}  // namespace

// A step that is saved again comes in a generation of its own, and counts from then on.
void CommitStore::Save(std::uint32_t node, std::uint64_t step,
                       std::span<const StagedTensor> tensors, std::span<const std::byte> bytes,
                       const std::string& host_state) {
  if (node >= nodes_) return;  // Of a larger cluster, which commits nothing here.
  MutexLock lock(mutex_);
  Pending& pending = pending_[step];
  if (pending.reports.empty() || pending.reports.contains(node)) {
    pending.reports.clear();
    const auto generation = Claim(*store_, kRunName, step, 1);
    CHECK(generation.ok());
    pending.save = {.generation = *generation, .step = step, .nonce = 1};
  }
  CHECK(TotalBytes(tensors) == bytes.size());
  auto report =
      WriteShard(*store_, {.run = kRunName, .save = pending.save, .node = node, .nodes = nodes_},
                 tensors, bytes);
  CHECK(report.ok());
  pending.reports[node] = *std::move(report);
  if (pending.reports.size() < nodes_) return;
  // Nodes are not in step: a later save may have claimed by now, which here stops nobody.
  std::vector<ShardReport> reports;
  for (const auto& [of, one] : pending.reports) reports.push_back(one);
  const auto manifest =
      BuildManifest(kRunName, pending.save, nodes_, reports, {.host_state = host_state});
  if (!manifest.ok()) return;  // As above.
  const std::string_view whole(reinterpret_cast<const char*>(manifest->bytes().data()),
                               manifest->bytes().size());
  CHECK(WriteWhole(*store_, FolderOf(kRunName, pending.save) + "/" + kManifestName, whole).ok());
  const CommitRecord record{.run = kRunName,
                            .save = pending.save,
                            .manifest_bytes = whole.size(),
                            .manifest_crc = Crc32c(manifest->bytes()),
                            .nodes = nodes_};
  CHECK(WriteWhole(*store_, CommitsFolder(kRunName) + "/" + CommitName(IdOf(pending.save)),
                   FormatCommit(record))
            .ok());
  pending_.erase(step);
}

Result<std::optional<Manifest>> CommitStore::OpenNewest() {
  MutexLock lock(mutex_);
  auto opened = checkpoint::OpenNewest(*store_, kRunName);
  if (!opened.ok()) return std::move(opened).status();
  if (!*opened) return std::optional<Manifest>();
  return std::optional((*opened)->manifest);
}

Result<std::vector<std::byte>> CommitStore::Read(const SaveId& save, const std::string& file,
                                                 std::uint64_t file_size, std::uint64_t first,
                                                 std::span<const std::uint32_t> crcs) {
  MutexLock lock(mutex_);
  const Blocks blocks{.path = FolderOf(kRunName, save) + "/" + file,
                      .file_size = file_size,
                      .first = first,
                      .crcs = crcs};
  std::vector<std::byte> bytes(blocks.bytes());
  RETURN_IF_ERROR(ReadBlocksInto(*store_, blocks, bytes));
  bytes_read_ += bytes.size();
  return bytes;
}

std::vector<std::uint64_t> CommitStore::Steps() const {
  MutexLock lock(mutex_);
  FaultyStore store(*store_);
  const auto commits = ListCommits(store, kRunName);
  std::set<std::uint64_t> steps;
  for (const CommitId& commit : *commits) steps.insert(commit.step);
  return {steps.begin(), steps.end()};
}

void CommitStore::Take(const CommitStore& other) {
  MutexLock theirs(other.mutex_);
  MutexLock lock(mutex_);
  store_ = std::make_unique<FaultyStore>(*other.store_);
}

std::uint64_t CommitStore::bytes_read() const {
  MutexLock lock(mutex_);
  return bytes_read_;
}

std::uint64_t CommitStore::bytes_of_newest() {
  const auto newest = OpenNewest();
  CHECK(newest.ok() && *newest);
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < (*newest)->files(); ++i) bytes += (*newest)->file(i).size;
  return bytes;
}

}  // namespace muster::checkpoint
