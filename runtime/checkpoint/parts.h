// A node's own, local store: parts of saves that wait there until the shared store has them.
//
//   <run>/data/g0000000007-s000000000120-<nonce>/shard-00000-of-00002.safetensors
//                                                part-00000-of-00002.muster       the shard is
//                                                whole
//
// Nodes of one machine may share a folder, so a run's name there is one of the run and the node.
//
// Nothing is committed in a local store and nothing loaded from it: a checkpoint exists only once
// the shared store has its commit record, so that no restart mixes the two.  One thread at a time.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/base/mover_parts.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// After the shard itself: durable when it returns.  At the end of a job also in the shared store,
// where it is all that tells of a save that nobody has committed.
Status KeepPart(Store& local, const std::string& run, const mover::Part& part);

// The parts whose shards are whole, by save; what is there of others is removed.  Makes the run's
// folders when they are not there.  Nobody may be writing into the run meanwhile.
Result<std::vector<mover::Part>> FindParts(Store& local, const std::string& run);

// Of any store: the parts of one save whose shards have their size, by node.  Changes nothing.
Result<std::vector<mover::Part>> FindSave(Store& store, const std::string& run, const SaveId& save);

// Removes those saves of the run; fine if they are not there.
Status DropParts(Store& local, const std::string& run, std::span<const SaveId> saves);
// Removes all that there is of the run.
Status DropRun(Store& local, const std::string& run);

struct RunIn {
  Store& store;
  std::string run;  // Its name there.
};

// Copies the part's shard.  No byte is written whose CRC does not hold: kDataLoss names the MiB.
// `again`: a mover died over it and may have left a part of the file.
Result<mover::ShardReport> MovePart(const RunIn& local, const RunIn& shared,
                                    const mover::Part& part, bool again);

inline SaveId SaveOf(const mover::SaveName& save) {
  return {.generation = save.generation, .step = save.step, .nonce = save.nonce};
}

}  // namespace muster::checkpoint
