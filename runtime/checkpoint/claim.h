// Generations: who may commit in a run's folder.
//
// An attempt takes the next generation before its first load, by publishing claims/g<N>.json; from
// then on no older one commits: a committer looks at claims/ between writing its record and
// publishing it.  One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// The generation taken: higher than all before.  Makes the run's folders when they are not there.
// `nonce` is fresh (store_posix.h), `now_ms` since 1970.
Result<std::uint64_t> Claim(Store& store, const std::string& run, std::uint64_t nonce,
                            std::int64_t now_ms, std::uint32_t attempt = 0);

// The highest generation claimed; 0 if none.
Result<std::uint64_t> HighestClaim(Store& store, const std::string& run);

// All commits by their names, newest first.  None for a run that is not there.
Result<std::vector<CommitId>> ListCommits(Store& store, const std::string& run);

}  // namespace muster::checkpoint
