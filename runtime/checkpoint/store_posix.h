// A store that is a mounted path: a local disk, or a share that the kernel has mounted.
//
// Only a mover, or a program that runs without one, holds such a store: a dead share blocks the
// thread that touches it.  One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// `path` must be a folder that exists; it is never made, since a path that is missing is most
// often a share that is not mounted.
Result<std::unique_ptr<Store>> OpenStore(const std::string& path);

// A random number for names that must never be used twice.  Any thread.
Result<std::uint64_t> FreshNonce();

}  // namespace muster::checkpoint
