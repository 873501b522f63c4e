// What the checkpoint parts of a job's daemons say to each other, inside peer::ForMover.
//
//   1. Head to all: Generation, once its mover has claimed it for the attempt.
//   2. Each host to the head: ShardEnded, when its part of a save is written, or cannot be.
//   3. Head to all: SaveEnded, when the save is committed, or will not be.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "runtime/base/mover.h"

namespace muster::checkpoint_words {

// `error`: the store cannot be used by this attempt.
struct Generation {
  std::uint64_t generation = 0, nonce = 0;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(generation, nonce, error);
  }
};

struct ShardEnded {
  std::uint64_t step = 0;
  std::uint64_t nonce = 0;
  mover::ShardReport report;
  std::string host_state, error;
  bool store_failed = false;  // And not only the mover.
  template <typename A>
  void Fields(A& a) {
    a(step, nonce, report, host_state, error, store_failed);
  }
};

struct SaveEnded {
  std::uint64_t step = 0;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(step, error);
  }
};

using Message = std::variant<Generation, ShardEnded, SaveEnded>;

}  // namespace muster::checkpoint_words
