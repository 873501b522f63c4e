// Whether a commit that failed is tried again, and when: every part of the save is durable, so a
// store that was away for a moment costs nothing.
//
// Pure; any thread.
#pragma once

#include <algorithm>
#include <optional>

#include "launcher/jobd/mover_verdicts.h"
#include "runtime/base/clock.h"

namespace muster {

// Tries of one commit so far.
struct CommitTries {
  int failed = 0;
  TimePoint first_failed{};
};

// Of this attempt; of an earlier one's save that has just been written; of a leftover.
enum class Whose { kOurs, kEarlier, kLeftover };

// A commit that is asked for, or will be again.
struct Committing {
  std::uint64_t life = 0;  // The attempt that asked.
  mover::Commit commit;
  Whose whose = Whose::kOurs;
  CommitTries tries;
};

// The wait before the next try, after `answer`; nullopt: it is final.  Final are a full store or
// one that may not be written, a newer commit or generation, and damage.  Tries begin within
// `deadline` of the first failure, so a store that does not answer at all is asked twice.
inline std::optional<Duration> WaitForNextTry(const mover::FromMover& answer,
                                              const CommitTries& tries, TimePoint now,
                                              Duration deadline) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  const bool passes =
      failed != nullptr && (failed->code == Code::kUnavailable || failed->code == Code::kDeadline);
  if (!passes || (failed->code == Code::kUnavailable && !mover_verdicts::OfStore(*failed))) {
    return std::nullopt;
  }
  constexpr Duration kFirst = std::chrono::milliseconds(500), kMost = std::chrono::seconds(15);
  constexpr Duration kWithoutDeadline = std::chrono::minutes(2);
  const Duration wait = std::min<Duration>(kMost, kFirst * (1LL << std::min(tries.failed, 10)));
  const Duration limit = deadline > Duration::zero() ? deadline : kWithoutDeadline;
  const Duration so_far = tries.failed == 0 ? Duration::zero() : now - tries.first_failed;
  // A short deadline still leaves one try.
  if (tries.failed > 0 && so_far + wait > limit) return std::nullopt;
  return wait;
}

}  // namespace muster
