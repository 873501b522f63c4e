#include "runtime/checkpoint/commit.h"

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/publish.h"
#include "runtime/checkpoint/shard.h"

namespace muster::checkpoint {
namespace {

// Whoever clears up after a newer commit counts on it that nothing older is linked any more.
Status CheckNewest(Store& store, const std::string& run, CommitId id) {
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) return commits.status();
  if (commits->empty() || commits->front() <= id) return {};
  return Status(Code::kExists, "run " + run + ": " + CommitName(commits->front()) +
                                   " is there, and newer than step " + std::to_string(id.step) +
                                   " of generation " + std::to_string(id.generation));
}

Status CheckFence(Store& store, const std::string& run, CommitId id) {
  const auto highest = HighestClaim(store, run);
  if (!highest.ok()) return highest.status();
  if (*highest > id.generation) {
    return Status(Code::kAborted, "run " + run + ": generation " + std::to_string(*highest) +
                                      " has been claimed, so generation " +
                                      std::to_string(id.generation) + " commits no more");
  }
  return CheckNewest(store, run, id);
}

Result<std::string> NewestName(Store& store, const std::string& run) {
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) return commits.status();
  return commits->empty() ? std::string() : CommitName(commits->front());
}

// Those of all tries to commit that save, each with a name of its own.
Status RemoveTemporaries(Store& store, const std::string& run, const SaveId& save) {
  const auto names = store.List(ClaimsFolder(run));
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    if (ParseTemporaryName(name) != save) continue;
    RETURN_IF_ERROR(UnlinkIfThere(store, ClaimsFolder(run) + "/" + name));
  }
  return {};
}

// What a committer of the same save that died left: its record, durable, or nothing in the way.
Result<std::optional<CommitRecord>> TakeOver(Store& store, const CommitOrder& order) {
  const auto record = ReadCommit(store, order.run, IdOf(order.save));
  if (record.ok() && record->save == order.save) {
    RETURN_IF_ERROR(store.SyncFolder(CommitsFolder(order.run)));
    return std::optional(*record);
  }
  if (!record.ok() && record.status().code() != Code::kNotFound) return record.status();
  // Of what is older than a commit, the shards may be gone; that is no damage.
  if (!record.ok()) RETURN_IF_ERROR(CheckNewest(store, order.run, IdOf(order.save)));
  const std::string manifest =
      DataFolder(order.run) + "/" + SaveName(order.save) + "/" + TemporaryName(kManifestName);
  RETURN_IF_ERROR(RemoveTemporaries(store, order.run, order.save));
  if (!record.ok()) RETURN_IF_ERROR(UnlinkIfThere(store, manifest));
  return std::optional<CommitRecord>();
}

// As with shards, its name is never taken back: a committer that takes over finds it, the same.
Status PublishManifest(Store& store, const std::string& folder, std::string_view bytes) {
  const auto published = Publish(store,
                                 {.folder = folder,
                                  .target = folder + "/" + kManifestName,
                                  .temporary = folder + "/" + TemporaryName(kManifestName),
                                  .bytes = std::string(bytes)},
                                 [] { return Status(); });
  if (!published.ok()) return published.status();
  if (*published) return {};
  return Status(Code::kDataLoss, folder + "/" + kManifestName + " is there, and another one");
}

std::string_view TextOf(const Manifest& manifest) {
  return {reinterpret_cast<const char*>(manifest.bytes().data()), manifest.bytes().size()};
}

std::uint64_t BytesOf(const Manifest& manifest) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < manifest.files(); ++i) bytes += manifest.file(i).size;
  return bytes;
}

Result<CommitRecord> RecordOf(Store& store, const Manifest& manifest, std::int64_t time_ms) {
  const std::string run(manifest.run());
  auto parent = NewestName(store, run);
  if (!parent.ok()) return std::move(parent).status();
  return CommitRecord{.run = run,
                      .save = manifest.save(),
                      .manifest_bytes = manifest.bytes().size(),
                      .manifest_crc = Crc32c(manifest.bytes()),
                      .bytes = BytesOf(manifest),
                      .nodes = static_cast<std::uint32_t>(manifest.files()),
                      .parent = *std::move(parent),
                      .time_ms = time_ms,
                      .metrics = MetricsOf(std::string(manifest.Member(kMemberHostState)),
                                           std::string(manifest.Member(kMemberMetadata)))};
}

Result<CommitRecord> PublishRecord(Store& store, const CommitRecord& record,
                                   const std::function<Status()>& may_publish) {
  const std::string commits = CommitsFolder(record.run);
  const Publication publication{.folder = commits,
                                .target = commits + "/" + CommitName(IdOf(record.save)),
                                .temporary = ClaimsFolder(record.run) + "/" +
                                             CommitTemporaryName(record.save, record.time_ms),
                                .bytes = FormatCommit(record)};
  auto published = Publish(store, publication, may_publish);
  if (!published.ok()) return std::move(published).status();
  if (*published) return record;
  // An earlier try of this save, whose link came late, wrote another time into it.
  auto standing = ReadCommit(store, record.run, IdOf(record.save));
  if (standing.ok() && standing->save == record.save) {
    RETURN_IF_ERROR(store.SyncFolder(commits));
    return standing;
  }
  if (!standing.ok() && standing.status().code() == Code::kUnavailable) return standing;
  return Status(Code::kAborted, "run " + record.run + ": step " + std::to_string(record.save.step) +
                                    " of generation " + std::to_string(record.save.generation) +
                                    " was committed by another save");
}

Result<CommitRecord> CommitManifest(Store& store, const CommitOrder& order) {
  RETURN_IF_ERROR(CheckRunName(order.run));
  RETURN_IF_ERROR(CheckJsonObject(order.texts.host_state, "host state"));
  RETURN_IF_ERROR(CheckJsonObject(order.texts.topology, "topology"));
  RETURN_IF_ERROR(CheckJsonObject(order.texts.metadata, "metadata"));
  if (order.again) {
    auto standing = TakeOver(store, order);
    if (!standing.ok()) return std::move(standing).status();
    if (standing->has_value()) return **std::move(standing);
  }
  const auto manifest =
      BuildManifest(order.run, order.save, order.nodes, order.reports, order.texts);
  if (!manifest.ok()) return manifest.status();

  const std::string folder = DataFolder(order.run) + "/" + SaveName(order.save);
  for (std::size_t i = 0; i < manifest->files(); ++i) {
    RETURN_IF_ERROR(ProbeShard(store, folder, manifest->file(i)));
  }
  RETURN_IF_ERROR(PublishManifest(store, folder, TextOf(*manifest)));

  auto record = RecordOf(store, *manifest, order.time_ms);
  if (!record.ok()) return record;
  return PublishRecord(store, *record,
                       [&] { return CheckFence(store, order.run, IdOf(order.save)); });
}

}  // namespace

Result<CommitRecord> Commit(Store& store, const CommitOrder& order) {
  auto record = CommitManifest(store, order);
  if (record.ok()) return record;
  return std::move(record).status().While("committing step " + std::to_string(order.save.step));
}

Result<CommitRecord> PublishProven(Store& store, const Manifest& manifest, std::int64_t time_ms) {
  auto record = RecordOf(store, manifest, time_ms);
  if (!record.ok()) return record;
  const std::string& run = record->run;
  const auto there = ReadCommit(store, run, IdOf(record->save));
  if (there.ok()) return Status(Code::kExists, "run " + run + ": that step is committed already");
  if (there.status().code() != Code::kNotFound) return there.status();
  const std::string folder = FolderOf(run, record->save);
  RETURN_IF_ERROR(RemoveTemporaries(store, run, record->save));
  RETURN_IF_ERROR(UnlinkIfThere(store, folder + "/" + TemporaryName(kManifestName)));
  RETURN_IF_ERROR(PublishManifest(store, folder, TextOf(manifest)));
  return PublishRecord(store, *record, [&] { return CheckNewest(store, run, IdOf(record->save)); });
}

}  // namespace muster::checkpoint
