// Where the ranks of a node wait for each other.  barrier_posix.h has the real one.
//
// One instance per rank; one thread.
#pragma once

#include "runtime/base/result.h"

namespace muster {

class Barrier {
 public:
  virtual ~Barrier() = default;

  // Everything that any rank wrote before its Wait is seen by all after theirs.
  virtual Status Wait() = 0;
};

}  // namespace muster
