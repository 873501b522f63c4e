// What a command line of another launcher left open, and this host or the cluster can tell.
//
// Any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "launcher/cli/cluster.h"
#include "launcher/cli/command_line.h"

namespace muster {

// Reads what the command names: its hostfile, and $PYTHON_EXEC.
Status LookUp(RunCommand& run);

// Settles how many nodes and ranks; `nodes` is empty for a private cluster.
Status Settle(RunCommand& run, const std::vector<ClusterNode>& nodes);

// How many slots each node of a private cluster gets.
Result<std::uint32_t> PrivateSlots(const RunCommand& run);

}  // namespace muster
