// Runs that a node's local store still has though nobody comes back for them: their job daemon was
// killed, and no attempt of theirs followed on this node.
//
// One thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"

namespace muster {

// How long nothing of a run must have changed: its job may wait in the queue for its next attempt.
inline constexpr auto kForgottenAfter = std::chrono::hours(24);

// A run is in use while somebody has this open; not valid: it cannot be.
UniqueFd HoldRun(const std::string& path);

// Names in `folder` of other runs' folders than `own` (RUN.NODE), of the same node and not in use.
std::vector<std::string> ForgottenRuns(const std::string& folder, const std::string& own,
                                       WallTime now);

}  // namespace muster
