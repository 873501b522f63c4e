// What `muster events` prints of a job: one line for each thing that happened.  Pure.
#pragma once

#include <string>

#include "launcher/cli/cluster.h"

namespace muster {

// "attempt 1, n0: ranks forked"; empty for news that say nothing new to a person (progress, and a
// job's state, which the story tells).
std::string EventLine(const WatchNews& news);

// One line of JSON: {"job": as `show --json`}, {"progress": {...}}, or {"story": {"attempt",
// "node", "wall_us", and "text" or "mark" and "at_us"}}; at_us counts the node's monotonic
// microseconds.
std::string EventJson(const WatchNews& news);

}  // namespace muster
