// Checkpoints for a program that has no launcher: one writer with whole tensors, in this process.
//
//   auto store = OpenStore(path);                                   // store_posix.h
//   auto nonce = FreshNonce();
//   auto generation = Claim(**store, run, *nonce, now_ms);          // claim.h; before any load
//   auto loaded = LoadNewest(**store, run);
//   ... SaveWhole(**store, run, {*generation, step, *nonce}, checkpoint, now_ms, keep);
//
// Under a launcher the mover does the same with several writers.  Blocks for as long as the store
// does.  One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/link.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// The tensors' bytes lie one after the other in `bytes`, in the order of `tensors`.
struct WholeCheckpoint {
  std::span<const link::StagedTensor> tensors;
  std::span<const std::byte> bytes;
  std::string host_state;  // JSON object, or empty.
  std::string metadata;    // As well; the user's.
};

// Writes, commits, and then lets go of all but the newest `keep` commits.  ok: it is committed,
// whatever became of the old ones.  kAborted: a newer generation has been claimed; stop, exit 75.
// A save of the same step in the same generation needs another nonce.
Status SaveWhole(Store& store, const std::string& run, const SaveId& save,
                 const WholeCheckpoint& checkpoint, std::int64_t now_ms, std::size_t keep = 3);

struct LoadedCheckpoint {
  std::uint64_t generation = 0;
  std::uint64_t step = 0;
  std::vector<link::StagedTensor> tensors;  // Whole ones, whatever wrote them, by name.
  std::vector<std::byte> bytes;
  std::string host_state, metadata;
  std::vector<std::string> notes;  // For people: commit records that were torn and passed over.
};

// nullopt: the run has no commit yet.  Every byte was checked against its CRC.  Never older than
// the newest commit whose record is whole: damage below that is an error that names the place.
// `patterns`: only the tensors whose names match one of them (* and ? as in a shell).
Result<std::optional<LoadedCheckpoint>> LoadNewest(Store& store, const std::string& run,
                                                   std::span<const std::string> patterns = {});

}  // namespace muster::checkpoint
