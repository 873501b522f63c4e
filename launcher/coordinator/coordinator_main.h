// `muster coordinator`: the composition root of the coordinator's process.
#pragma once

#include "launcher/coordinator/config.h"

namespace muster {

// Runs until SIGTERM, SIGINT, or the death of the keeper; returns the process's exit status: 0 for
// a clean stop, 2 for a mistake of the user, 1 when the world failed (the keeper starts it anew).
// SIGUSR1 writes the state to the log.  Call on the main thread, before any other thread starts.
//
// Where it listens stands in STATE/coordinator.address, mode 0600, written whole or not at all,
// once it listens.
int CoordinatorMain(const CoordinatorConfig& config);

}  // namespace muster
