// Finds the newest commit of a run, and reads what is wanted of it.
//
// Newest: the highest generation that has a commit, then the highest step.  A commit record that is
// torn never became a checkpoint: it is passed over, with a note.  Anything else that is wrong is
// an error that names the place: never an older checkpoint instead, and never "none" when there are
// records.  A commit that retention removes while it is read is read again from the start.
//
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// The record under a name, if it holds and is the one that the name says.
Result<CommitRecord> ReadCommit(Store& store, const std::string& run, CommitId commit);

// The manifest that a record names: its bytes are those of the commit.  What it says of a tensor is
// proven by whoever plans to read it (plan.h).
Result<Manifest> ReadManifest(Store& store, const CommitRecord& record);

struct OpenedCheckpoint {
  CommitRecord record;
  Manifest manifest;
  std::vector<std::string> notes;  // For people: torn records that were passed over.
};

// nullopt: the run has no commit.
Result<std::optional<OpenedCheckpoint>> OpenNewest(Store& store, const std::string& run);

// Where the files of a save lie.
std::string FolderOf(const std::string& run, const SaveId& save);

// Fills into[i], the memory of the plan's wanted()[i], reading each needed block once.
Status Fill(Store& store, const std::string& folder, const LoadPlan& plan,
            std::span<std::byte* const> into);

struct Checkpoint {
  CommitRecord record;
  Manifest manifest;
  std::vector<StagedTensor> tensors;  // Whole, by name, bytes one after the other.
  std::vector<std::string> notes;
};

// Gives the memory for that many bytes; called again when the load starts again.
using Allocate = std::function<Result<std::span<std::byte>>(std::uint64_t bytes)>;

// nullopt: the run has no commit.  Fills the memory with the bytes of all tensors, or of those
// whose names match one of `patterns` (* and ? as in a shell).
Result<std::optional<Checkpoint>> Load(Store& store, const std::string& run,
                                       const Allocate& allocate,
                                       std::span<const std::string> patterns = {});

}  // namespace muster::checkpoint
