// What a store holds, for people and for `muster ckpt`: runs, commits, and whether they are whole.
//
// Only reads.  Needs no claim, so it may run beside a job; a commit that retention removes
// meanwhile shows as a problem.  One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct CommitSummary {
  CommitId id;
  CommitRecord record;  // Of no meaning when there is a problem.
  std::string problem;  // Why the record cannot be used, or empty.
};

struct RunSummary {
  std::string run;
  std::uint64_t generation = 0;        // The highest claimed.
  std::vector<CommitSummary> commits;  // Newest first.
  std::vector<std::string> rubbish;    // Folders in data/ that no record names.
};

// The names of the runs, sorted.
Result<std::vector<std::string>> ListRuns(Store& store);
Result<RunSummary> Summarize(Store& store, const std::string& run);

// `muster ckpt show`: the manifest of a commit.
Result<Manifest> Show(Store& store, const std::string& run, CommitId commit);

struct Verification {
  std::uint64_t bytes = 0;     // That were read and held.
  std::vector<Damage> damage;  // Each with path and MiB.  Empty: whole.
  std::string unmatched;       // Why nothing was read: a pattern that no tensor matches.
};

struct VerifyOptions {
  bool quick = false;                 // Of each file only size, header, first and last MiB.
  std::vector<std::string> patterns;  // Only files that hold any of these tensors; none: all.
  std::function<void(std::uint64_t bytes, std::uint64_t of)> progress;
};

// Reads all of a commit and checks every CRC; finds the place of what does not hold.
Verification Verify(Store& store, const std::string& run, CommitId commit,
                    const VerifyOptions& options = {});

}  // namespace muster::checkpoint
