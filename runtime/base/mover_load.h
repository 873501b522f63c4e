// Of what a job daemon and its mover say to each other (mover.h): a checkpoint that is read in
// parts.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/link.h"
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

// Asks for boxes of the tensors of one commit, or for whole ones whose names match a pattern.
// Answered by PartsLoaded.
struct LoadParts {
  std::uint64_t generation = 0, step = 0, nonce = 0;  // The save.
  std::vector<std::string> patterns;
  std::vector<link::StagedTensor> tensors;
  template <typename A>
  void Fields(A& a) {
    a(generation, step, nonce, patterns, tensors);
  }
};

// Carries a descriptor: a memfd of `bytes` where tensors[i] begins at begins[i], a multiple of 64.
// Those that match, by name, then those that were asked for.
struct PartsLoaded {
  std::uint64_t bytes = 0;
  std::vector<link::StagedTensor> tensors;
  std::vector<std::uint64_t> begins;
  std::string host_state;
  template <typename A>
  void Fields(A& a) {
    a(bytes, tensors, begins, host_state);
  }
};

// Carries a descriptor when `found`: a memfd with the `bytes` of the manifest.
struct CheckpointOpened {
  bool found = false;
  std::uint64_t bytes = 0;
  std::vector<std::string> notes;
  std::uint64_t generation = 0, step = 0, nonce = 0;  // The save.
  template <typename A>
  void Fields(A& a) {
    a(found, bytes, notes, generation, step, nonce);
  }
};

struct BlocksRead {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

}  // namespace muster::mover
