// What must be equal for a run to go on with the same bits, and the little that changes from step
// to step: the JSON object beside the tensors of a checkpoint.
//
// Nothing in it depends on the number of ranks.  Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/base/result.h"

namespace muster {

// Name and value as text, such as {"seed", "42"}, {"data_crc32c", "9f31c2d4"}.
using RunFacts = std::map<std::string, std::string>;

struct HostState {
  RunFacts facts;
  std::uint64_t step = 0;
  double loss_ema = 0;
  std::uint64_t skipped = 0;     // Steps without an update.
  double loss_scale = 1;         // Of dynamic loss scaling...
  std::uint64_t good_steps = 0;  // ...and since when it has not changed.
  bool operator==(const HostState&) const = default;
};

std::string EncodeHostState(const HostState& state);
Result<HostState> DecodeHostState(const std::string& json);

// Ok, or the sentence that names every fact that differs, what the checkpoint has and what this
// run has.  A checkpoint without facts is another program's, which promises no bits.
Status CheckSameRun(const RunFacts& of_checkpoint, const RunFacts& of_run);

// One word for all facts, to mark memory with.  Never 0.
std::uint64_t Fingerprint(const RunFacts& facts);

}  // namespace muster
