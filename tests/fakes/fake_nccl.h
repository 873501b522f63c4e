// A fake NCCL: libfake_nccl.so and its older sisters have its C functions, over the fake CUDA, for
// ranks that are threads of one process.  A test double: it says nothing about speed.
//
// Sums are real, in an order of its own (from the last rank to the first).  Communicators answer
// ncclInProgress for a while, as non-blocking ones do, and an operation is in its stream only when
// they do no longer.  Ranks that disagree wait for ever, as with the real one.  Breaches of NCCL's
// rules (a blocking communicator, a call beside another or beside an abort, a call while one is in
// progress, memory that a device cannot reach) are violations of the fake CUDA (fake_cudart.h).
//
// Faults are planted with fake_nccl_plant.  Any thread.
#pragma once

#include "tests/fakes/fake_cudart.h"

namespace muster::testing {

enum FakeNcclFault : int {
  kFaultNone = 0,
  kFaultInitHangs,   // The rank's communicator is never made.
  kFaultInitFails,   // It is not made: ncclSystemError.
  kFaultOpHangs,     // The rank's operation `after` (from 0) never ends, on no rank.
  kFaultAsyncError,  // From operation `after` on, the rank's communicator says ncclInternalError.
  kFaultRankDies,    // The rank's operations from `after` on are lost; the others' communicators
                     // say ncclRemoteError once they have one that waits for it.
  kFaultCallHangs,   // The rank's call that starts operation `after` does not return.
  kFaultAbortHangs   // Its ncclCommAbort does not return.
};

// NOLINTBEGIN(readability-identifier-naming): a C interface.

// On rank `rank` of every communicator of `ranks` ranks, until the next call.  kFaultNone lets go
// of what hangs, too.
FAKE_API void fake_nccl_plant(int fault, int ranks, int rank, int after);
// Communicators that were made and neither destroyed nor aborted.
FAKE_API int fake_nccl_living();

// NOLINTEND(readability-identifier-naming): a C interface.

}  // namespace muster::testing
