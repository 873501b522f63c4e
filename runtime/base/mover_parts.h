// Of what a job daemon and its mover say to each other (mover.h): one node's part of a save, and
// what becomes of it in the node's own, local store before the shared one has it.
//
// A local store has shards under the names of the shared one (runtime/checkpoint/layout.h) and no
// commits: beside each shard that is whole lies its part, as a small file.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/link.h"
#include "runtime/base/wire.h"

namespace muster::mover {

// What one node wrote: a shard, durable and closed.
struct ShardReport {
  std::uint32_t node = 0, nodes = 0;
  std::string file;  // Its name in the save's folder.
  std::uint64_t size = 0;
  std::vector<std::uint32_t> crcs;  // CRC-32C of each MiB of the file.
  std::vector<link::StagedTensor> tensors;
  std::vector<std::uint64_t> begins;  // Of each tensor: where its bytes begin in the file.
  bool operator==(const ShardReport&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(node, nodes, file, size, crcs, tensors, begins);
  }
};

// A save, as its folder is named.
struct SaveName {
  std::uint64_t generation = 0, step = 0, nonce = 0;
  auto operator<=>(const SaveName&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(generation, step, nonce);
  }
};

// Whoever has the parts of all nodes can commit the save.  The texts are JSON objects of the
// attempt that made it: a later one that commits it must come to the same manifest.
struct Part {
  SaveName save;
  ShardReport report;
  std::string host_state, topology, metadata;
  bool operator==(const Part&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(save, report, host_state, topology, metadata);
  }
};

// Asked of a local store's mover after Written: from now on FindParts finds the part, whatever
// dies. Answered by PartKept.
struct KeepPart {
  Part part;
  template <typename A>
  void Fields(A& a) {
    a(part);
  }
};
struct PartKept {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

// Asked of a local store's mover: which parts of the run it has.  Answered by PartsFound.
struct FindParts {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};
struct PartsFound {
  std::vector<Part> parts;  // By save.
  template <typename A>
  void Fields(A& a) {
    a(parts);
  }
};

// Asked of the shared store's mover, where KeepPart puts parts when the job is over: which parts of
// the save are there.  Answered by PartsFound, by node.
struct FindSave {
  SaveName save;
  template <typename A>
  void Fields(A& a) {
    a(save);
  }
};

// Asked of a local store's mover: removes these saves of the run, or all that there is of it.
// Answered by PartsDropped.
struct DropParts {
  std::vector<SaveName> saves;
  bool all = false;
  template <typename A>
  void Fields(A& a) {
    a(saves, all);
  }
};
struct PartsDropped {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

// Asked of the shared store's mover: copies the part's shard from Open's `local`.  No byte goes out
// whose CRC does not hold.  Answered by Written, with the same report.  `again`, `bytes_per_s`: as
// Write's.
struct MovePart {
  Part part;
  bool again = false;
  std::uint64_t bytes_per_s = 0;
  template <typename A>
  void Fields(A& a) {
    a(part, again, bytes_per_s);
  }
};

}  // namespace muster::mover
