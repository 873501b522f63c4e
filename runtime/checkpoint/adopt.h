// Publishes a save that is complete and was never committed: its committer died before the commit
// record.
//
//   1. Prove it: read all of every shard; say from the shards alone (their headers, their CRCs)
//      what the manifest must be, and compare.  Sampler, RNG and metadata have a CRC of their own.
//   2. Claim a generation, unless a later one is claimed already: from here on the committer that
//      was slow and not dead commits no more.
//   3. Look whether it did in time.
//   4. Publish the manifest, if it is not there, and the commit record, as a commit does: never
//   behind a newer commit, which may be
//      cleared up after at any moment.
//
// Nothing is repaired: a save with any damage is refused, and one without its manifest unless every
// node has left what it takes to make it (parts.h).  One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct AdoptOrder {
  std::string run;
  SaveId save;
  std::uint64_t nonce = 0;  // Fresh: of the claim.
  std::int64_t now_ms = 0;
  std::function<void(std::uint64_t bytes)> progress;
};

// kDataLoss: it is not whole, and why.  kExists: it, or a later one, is committed.
Result<CommitRecord> Adopt(Store& store, const AdoptOrder& order);

}  // namespace muster::checkpoint
