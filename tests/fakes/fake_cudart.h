// A fake CUDA runtime: libfake_cudart.so has its C functions, over memory of the host, for machines
// without a GPU.  A test double, not a simulator: it says nothing about speed.
//
// "Device" memory lies at addresses that the host cannot touch (a fault ends the test that tries),
// and at an alias that only the fakes know.  Streams run in order, whenever somebody asks about
// any of them; so nothing happens unless someone polls.  What the real runtime would answer with a
// wait without an end, or take in silence and do wrong, is a violation, and told.
//
// This header is for the other fakes and for tests.  Any thread.
#pragma once

#include <memory>
#include <string>

#include "runtime/gpu/cuda_api.h"

#define FAKE_API extern "C" __attribute__((visibility("default")))

namespace muster::testing {

// One thing in a stream.
class FakeWork {
 public:
  virtual ~FakeWork() = default;
  // True when it is done; else it is asked again.  With the fakes' lock.
  virtual bool TryRun() = 0;
};

// NOLINTBEGIN(readability-identifier-naming): a C interface.

// One lock for all fakes.
FAKE_API void fake_cuda_lock();
FAKE_API void fake_cuda_unlock();
// All with the lock.
FAKE_API void fake_cuda_push(CudaStream stream, FakeWork* owned);
FAKE_API void* fake_cuda_host(const void* memory);  // Null: not of a device, and not pinned.
FAKE_API void fake_cuda_violation(const char* what);
FAKE_API void fake_cuda_progress();

// For tests.  Without the lock.
FAKE_API void fake_cuda_set_devices(int count);
FAKE_API void fake_cuda_stall(CudaStream stream, int stalled);  // It runs nothing meanwhile.
FAKE_API const char* fake_cuda_violations();                    // One a line; until the next call.
FAKE_API void fake_cuda_forget_violations();

// NOLINTEND(readability-identifier-naming): a C interface.

}  // namespace muster::testing
