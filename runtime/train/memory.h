// Memory that the ranks of a node share by name.
//
// Every rank of the node asks for the same names in the same order with the same sizes.  Who hands
// it out decides how long it lives: the job daemon's outlives ranks and attempts, any other ends
// with the processes.  What was never written reads as zeros.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/base/result.h"

namespace muster {

class Memory {
 public:
  virtual ~Memory() = default;

  struct Region {
    std::span<std::byte> bytes;  // Page aligned; valid as long as the Memory.
    bool busy = false;           // A checkpoint is still being written from it.
  };
  virtual Result<Region> Get(const std::string& name, std::size_t bytes) = 0;
  // Takes the pages of a part of a region now, so that no later write waits for them, or dies for
  // lack of them.
  virtual Status Prefault(std::span<std::byte> /*part*/) { return {}; }
};

}  // namespace muster
