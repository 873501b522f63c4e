// What an answer of a mover means to who asked.  Pure; any thread.
#pragma once

#include <string>

#include "runtime/base/mover.h"

namespace muster::mover_verdicts {

inline constexpr int kDeathsMax = 5;

inline bool IsLate(const mover::FromMover& answer) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  return failed != nullptr && failed->code == Code::kDeadline;
}

// The store's fault: not that of a mover that died, nor one that may pass: a checkpoint that is
// given up because the store does not answer never stops the job, nor does one behind a newer
// commit.
inline bool OfStore(const mover::Failed& failed) {
  if (failed.code == Code::kDeadline || failed.code == Code::kExists) return false;
  if (failed.code == Code::kInvalid) return false;  // What ranks staged, such as half a tensor.
  return failed.code != Code::kUnavailable || failed.text.find("the mover ended") != 0;
}

// The mover died over a request that may be made again, and not too often yet.
inline bool MayRetry(const mover::FromMover& answer, int deaths) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  if (failed == nullptr || IsLate(answer)) return false;
  return failed->code == Code::kUnavailable && !OfStore(*failed) && deaths < kDeathsMax;
}

inline std::string TextOf(const mover::FromMover& answer) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  return failed == nullptr ? "the mover answered something else" : failed->text;
}

}  // namespace muster::mover_verdicts
