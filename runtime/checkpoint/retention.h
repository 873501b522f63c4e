// Lets go of old checkpoints, and of what dead saves left.
//
//   1. Unlink the records of whole commits that neither a rule nor a pin keeps; make that durable.
//   2. Rubbish is a folder in data/ that no record names and that is not newer than `newest`.  Its
//      writer may be a zombie between its last look at the claims and its link(2): so unlink
//      records on their way (claims/.*.tmp) first.  One that was written before this cannot be
//      linked any more; one written later comes with a look at the claims and the commits that sees
//      a newer one.
//   3. Look at the records and the pins again: what has been linked in time is no rubbish, and what
//      a reader has taken a lease of stays until that ends (pins.h says why this order is safe).
//   4. Remove the files of the rubbish, then its folders.
//
// A crash at any point leaves more rubbish, which the next call removes; never a record without its
// data.  One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/keep_rules.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct Freed {
  std::size_t commits = 0;
  std::size_t folders = 0;
};

struct LetGoOrder {
  std::string run;
  CommitId newest;  // Folders of newer saves may still be written.
  KeepRules rules;
  std::int64_t now_ms = 0;  // Ends leases.
  std::uint64_t nonce = 0;  // Of the caller.
  // Goes whatever the rules say, unless it is pinned: one that is damaged, say.
  std::optional<CommitId> drop = std::nullopt;
};

// Called by a committer after its commit of `newest`.
Result<Freed> LetGo(Store& store, const LetGoOrder& order);
// The newest `keep` only; leases are taken for lasting ones.
Result<Freed> LetGo(Store& store, const std::string& run, CommitId newest, std::size_t keep);

// What LetGo would do, for people.
struct LetGoPlan {
  struct Commit {
    CommitId id;
    std::string kept;         // Why it stays; empty: it goes.
    std::uint64_t bytes = 0;  // Of its shards; 0 when its record cannot be read.
  };
  std::vector<Commit> commits;       // Newest first.
  std::vector<std::string> rubbish;  // Folders in data/.
};
Result<LetGoPlan> PlanLetGo(Store& store, const LetGoOrder& order);

}  // namespace muster::checkpoint
