// Lets go of old checkpoints, and of what dead saves left.
//
//   1. Unlink the records of all but the newest `keep` whole commits; make that durable.
//   2. Rubbish is a folder in data/ that no record names and that is not newer than `newest`.  Its
//      writer may be a zombie between its last look at the claims and its link(2): so unlink
//      records on their way (claims/.*.tmp) first.  One that was written before this cannot be
//      linked any more; one written later comes with a look at the claims and the commits that sees
//      a newer one.
//   3. Look at the records again: what has been linked in time is no rubbish.
//   4. Remove the files of the rubbish, then its folders.
//
// A crash at any point leaves more rubbish, which the next call removes; never a record without its
// data.  One thread at a time.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct Freed {
  std::size_t commits = 0;
  std::size_t folders = 0;
};

// Called by a committer after its commit of `newest`, with `keep` at least 1.
Result<Freed> LetGo(Store& store, const std::string& run, CommitId newest, std::size_t keep);

}  // namespace muster::checkpoint
