// The backend "hybrid": see MpiSession::Hybrid (group_mpi.h).
#pragma once

#include <mpi.h>

#include <memory>

#include "runtime/comm/backend.h"
#include "runtime/comm/engine_mpi.h"

namespace muster {

// Collective over `comm`.  `node`: equal on the ranks that share memory.  `own`: the communicator
// is freed in the end, and now if there is an error.
Result<std::unique_ptr<Backend>> MakeHybridBackend(MpiEngine& engine, MPI_Comm comm, int node,
                                                   bool own);

}  // namespace muster
