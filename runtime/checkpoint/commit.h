// Commits a save: from shards that are durable to a checkpoint that exists.
//
//   1. Prove that the reports are complete and that their boxes tile every tensor.
//   2. Look at every shard from here: size, first and last MiB.
//   3. Write the manifest; make the save's folder durable.
//   4. Write the commit record under a temporary name.
//   5. Look for a higher claim, and for a newer commit: if there is one, stop.
//   6. link(2) the record to its name (publish.h).  From here on the checkpoint exists.
//
// A failure before 6 leaves rubbish that gc removes later, and the last commit as it was.  When the
// committer died or failed, the same order with `again` (its time may be another) looks first
// whether 6 was reached, and goes on from 1 if it was not.  One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct CommitOrder {
  std::string run;
  SaveId save;
  std::uint32_t nodes = 1;
  std::vector<ShardReport> reports;
  ManifestTexts texts;
  std::int64_t time_ms = 0;
  bool again = false;  // A committer of this very save died over it, or failed.
};

// kAborted: a newer generation has been claimed, or this step was committed by another save of this
// generation.  The attempt must stop.  kExists: a newer commit is there; only this save is over.
Result<CommitRecord> Commit(Store& store, const CommitOrder& order);

// Publishes a save whose manifest was proven (adopt.h), and which no other process commits any
// more.  kExists: that step, or a later one, is committed.
Result<CommitRecord> PublishProven(Store& store, const Manifest& manifest, std::int64_t time_ms);

}  // namespace muster::checkpoint
