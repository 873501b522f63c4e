// Of what a job daemon and its mover say to each other (mover.h): a checkpoint that is read in
// parts.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/wire.h"

namespace muster::mover {

// Asks what the newest commit of the run holds.  Answered by CheckpointOpened.
struct OpenNewest {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

// Carries a descriptor: memory for those MiB of the file, from its byte 0.  Answered by BlocksRead
// when the CRC-32C of each held.  Needs no Load before.
struct ReadBlocks {
  std::uint64_t generation = 0, step = 0, nonce = 0;  // The save.
  std::string file;                                   // Its name in the save's folder.
  std::uint64_t file_size = 0, first = 0;
  std::vector<std::uint32_t> crcs;
  template <typename A>
  void Fields(A& a) {
    a(generation, step, nonce, file, file_size, first, crcs);
  }
};

// Carries a descriptor when `found`: a memfd with the `bytes` of the manifest.
struct CheckpointOpened {
  bool found = false;
  std::uint64_t bytes = 0;
  std::vector<std::string> notes;
  template <typename A>
  void Fields(A& a) {
    a(found, bytes, notes);
  }
};

struct BlocksRead {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

}  // namespace muster::mover
