#include "launcher/mover/answers.h"

#include <algorithm>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/parts.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/shard.h"

namespace muster::mover {
namespace {

checkpoint::SaveId SaveOf(const auto& request) {
  return {.generation = request.generation, .step = request.step, .nonce = request.nonce};
}

// Of a load: an older commit is never taken instead, so what helps is said.
FromMover NotLoaded(const Status& status) {
  if (status.code() != Code::kDataLoss) return FailedWith(status);
  return FailedWith(Status(Code::kDataLoss, status.message() +
                                                "; `muster ckpt verify` says what is damaged, and "
                                                "`muster ckpt drop` lets the commit before it be "
                                                "the newest"));
}

// Whether anything was ever claimed or committed.
Result<bool> HasRun(const Opening& at) {
  const auto highest = checkpoint::HighestClaim(at.store, at.run);
  if (!highest.ok()) return highest.status();
  if (*highest > 0) return true;
  const auto commits = checkpoint::ListCommits(at.store, at.run);
  if (!commits.ok()) return commits.status();
  return !commits->empty();
}

}  // namespace

FromMover FailedWith(const Status& status) {
  return Failed{.code = status.code(), .text = status.message()};
}

FromMover Answer(const Opening& at, const Claim& claim, std::uint64_t nonce, std::int64_t now_ms) {
  if (claim.must_exist) {
    const auto has = HasRun(at);
    if (!has.ok()) return FailedWith(has.status());
    if (!*has) {
      return FailedWith(Status(Code::kNotFound, "it has no run " + at.run + " to go on with; " +
                                                    "`muster ckpt ls` lists those it has"));
    }
  }
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
                                                    .texts = {.host_state = commit.host_state,
                                                              .topology = commit.topology,
                                                              .metadata = commit.metadata},
                                                    .time_ms = now_ms,
                                                    .again = commit.again});
  if (!record.ok()) return FailedWith(record.status());
  return Committed{.step = record->save.step, .bytes = record->bytes};
}

FromMover Answer(const Opening& at, const Load& /*load*/, const checkpoint::Allocate& allocate) {
  auto loaded = checkpoint::Load(at.store, at.run, allocate);
  if (!loaded.ok()) return NotLoaded(loaded.status());
  if (!loaded->has_value()) return Loaded{.found = false};
  checkpoint::Checkpoint& checkpoint = **loaded;
  return Loaded{.found = true,
                .generation = checkpoint.record.save.generation,
                .step = checkpoint.record.save.step,
                .tensors = std::move(checkpoint.tensors),
                .host_state = std::string(checkpoint.manifest.Member(checkpoint::kMemberHostState)),
                .notes = std::move(checkpoint.notes)};
}

FromMover Answer(const Opening& at, const OpenNewest& /*open*/,
                 const checkpoint::Allocate& allocate) {
  auto opened = checkpoint::OpenNewest(at.store, at.run);
  if (!opened.ok()) return NotLoaded(opened.status());
  if (!opened->has_value()) return CheckpointOpened{.found = false};
  const auto bytes = (*opened)->manifest.bytes();
  const auto memory = allocate(bytes.size());
  if (!memory.ok()) return FailedWith(memory.status());
  std::copy(bytes.begin(), bytes.end(), memory->begin());
  const checkpoint::SaveId save = (*opened)->record.save;
  return CheckpointOpened{.found = true,
                          .bytes = bytes.size(),
                          .notes = std::move((*opened)->notes),
                          .generation = save.generation,
                          .step = save.step,
                          .nonce = save.nonce};
}

FromMover Answer(const Opening& at, const ReadBlocks& read, std::span<std::byte> memory) {
  const std::string path = checkpoint::FolderOf(at.run, SaveOf(read)) + "/" + read.file;
  const checkpoint::Blocks blocks{
      .path = path, .file_size = read.file_size, .first = read.first, .crcs = read.crcs};
  if (read.file.empty() || read.file[0] == '.' || read.file.find('/') != std::string::npos) {
    return FailedWith(Status(Code::kInvalid, "\"" + read.file + "\" is no shard's name"));
  }
  if (memory.size() < blocks.bytes()) {
    return FailedWith(Status(Code::kInvalid, "the memory is smaller than what is to be read"));
  }
  Status done = checkpoint::CheckSize(at.store, path, read.file_size);
  if (done.ok()) done = ReadBlocksInto(at.store, blocks, memory.first(blocks.bytes()));
  return done.ok() ? FromMover(BlocksRead{}) : NotLoaded(done);
}

FromMover Answer(const Opening& at, const LoadParts& load, const checkpoint::Allocate& allocate) {
  constexpr std::uint64_t kLine = 64;
  const checkpoint::SaveId save = SaveOf(load);
  const auto record = checkpoint::ReadCommit(at.store, at.run, checkpoint::IdOf(save));
  if (!record.ok()) return NotLoaded(record.status());
  if (record->save != save) {
    return FailedWith(Status(Code::kNotFound, "the commit of step " + std::to_string(save.step) +
                                                  " is another one by now"));
  }
  auto manifest = checkpoint::ReadManifest(at.store, *record);
  if (!manifest.ok()) return NotLoaded(manifest.status());
  std::vector<link::StagedTensor> wanted;
  if (!load.patterns.empty()) {
    auto whole = checkpoint::WholeTensors(*manifest, load.patterns);
    if (!whole.ok()) return FailedWith(whole.status());
    wanted = *std::move(whole);
  }
  wanted.insert(wanted.end(), load.tensors.begin(), load.tensors.end());
  const auto plan = checkpoint::LoadPlan::Make(*manifest, std::move(wanted));
  if (!plan.ok()) return FailedWith(plan.status());
  PartsLoaded loaded{.tensors = plan->wanted(),
                     .host_state = std::string(manifest->Member(checkpoint::kMemberHostState))};
  for (const link::StagedTensor& tensor : loaded.tensors) {
    loaded.begins.push_back(loaded.bytes);
    loaded.bytes += (checkpoint::BoxBytes(tensor) + kLine - 1) / kLine * kLine;
  }
  const auto memory = allocate(loaded.bytes);
  if (!memory.ok()) return FailedWith(memory.status());
  std::vector<std::byte*> into;
  for (const std::uint64_t begin : loaded.begins) into.push_back(memory->data() + begin);
  const Status filled = checkpoint::Fill(at.store, checkpoint::FolderOf(at.run, save), *plan, into);
  return filled.ok() ? FromMover(std::move(loaded)) : NotLoaded(filled);
}

FromMover Answer(const Opening& at, const KeepPart& keep) {
  const Status kept = checkpoint::KeepPart(at.store, at.run, keep.part);
  return kept.ok() ? FromMover(PartKept{}) : FailedWith(kept);
}

FromMover Answer(const Opening& at, const FindParts& /*find*/) {
  auto parts = checkpoint::FindParts(at.store, at.run);
  if (!parts.ok()) return FailedWith(parts.status());
  return PartsFound{.parts = *std::move(parts)};
}

FromMover Answer(const Opening& at, const FindSave& find) {
  auto parts = checkpoint::FindSave(at.store, at.run, checkpoint::SaveOf(find.save));
  if (!parts.ok()) return FailedWith(parts.status());
  return PartsFound{.parts = *std::move(parts)};
}

FromMover Answer(const Opening& at, const DropParts& drop) {
  std::vector<checkpoint::SaveId> saves;
  for (const SaveName& save : drop.saves) saves.push_back(checkpoint::SaveOf(save));
  const Status dropped = drop.all ? checkpoint::DropRun(at.store, at.run)
                                  : checkpoint::DropParts(at.store, at.run, saves);
  return dropped.ok() ? FromMover(PartsDropped{}) : FailedWith(dropped);
}

FromMover Answer(const Opening& at, const Opening& local, const MovePart& move) {
  auto report = checkpoint::MovePart({.store = local.store, .run = local.run},
                                     {.store = at.store, .run = at.run}, move.part, move.again);
  if (!report.ok()) {
    return FailedWith(std::move(report).status().While(
        "moving step " + std::to_string(move.part.save.step) + " from the local store"));
  }
  return Written{.report = *std::move(report)};
}

Status LetGoAfter(const Opening& at, const Commit& commit, std::int64_t now_ms) {
  const auto rules = checkpoint::ParseKeepRules(commit.keep_also,
                                                {.last = std::max<std::uint32_t>(commit.keep, 1)});
  if (!rules.ok()) return rules.status();
  return checkpoint::LetGo(at.store, {.run = at.run,
                                      .newest = checkpoint::IdOf(SaveOf(commit)),
                                      .rules = *rules,
                                      .now_ms = now_ms,
                                      .nonce = commit.nonce})
      .status();
}

}  // namespace muster::mover
