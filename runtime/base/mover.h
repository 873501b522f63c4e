// What a job daemon and its mover say to each other.
//
// AF_UNIX SOCK_SEQPACKET, made by socketpair(2) in the job daemon; the mover inherits one end.  The
// daemon asks, the mover answers each request once, in order; `id` of the frame ties the two
// together.  A failed request is answered by Failed and the mover lives on.  How frames and their
// descriptors travel: mover_posix.h.
//
// The first request is Open.  A save is: Write on each node with the same generation, step and
// nonce; the reports go to the head, whose mover gets Commit.  One save of a run at a time.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/link.h"
#include "runtime/base/mover_load.h"
#include "runtime/base/mover_parts.h"
#include "runtime/base/result.h"
#include "runtime/base/wire.h"

namespace muster::mover {

// ---- the job daemon asks ------------------------------------------------------------------------

// `store` is a path, `run` the run id, `local` a run's folder that MovePart reads from.  May carry
// a descriptor: memory for a Progress (mover_progress.h).  Answered by Opened.
struct Open {
  std::string store, run, local;
  template <typename A>
  void Fields(A& a) {
    a(store, run, local);
  }
};

// Takes the next generation of the run: once per attempt, by the head, before any Load.  Answered
// by Claimed.
struct Claim {
  std::uint32_t attempt = 0;
  bool must_exist = false;  // The run: else kNotFound.
  template <typename A>
  void Fields(A& a) {
    a(attempt, must_exist);
  }
};

// Carries a descriptor: a memfd with the tensors' bytes one after the other in this order, from
// byte 0.  Answered by Written.  `nonce` is the same on all nodes of a save: Claimed's, or any
// other number when a step is saved again in one generation.  `again`: a mover died over this very
// request, and may have left a part of it.
struct Write {
  std::uint64_t generation = 0, step = 0, nonce = 0;
  std::uint32_t node = 0, nodes = 0;  // This node's place among those that write.
  std::vector<link::StagedTensor> tensors;
  bool again = false;
  std::uint64_t bytes_per_s = 0;  // At most; 0: as fast as it goes.
  template <typename A>
  void Fields(A& a) {
    a(generation, step, nonce, node, nodes, tensors, again, bytes_per_s);
  }
};

// Commits the save once all `nodes` reports are there.  Answered by Committed, or by Failed with
// kAborted when a newer generation has been claimed: stop the attempt (exit 75).
struct Commit {
  std::uint64_t generation = 0, step = 0, nonce = 0;
  std::uint32_t nodes = 0;
  std::vector<ShardReport> reports;
  std::string host_state;  // JSON object, or empty.
  std::string topology;    // JSON object, or empty: what the run looked like, for people.
  std::uint32_t keep = 3;  // Commits that stay; older ones go after this one stands.
  bool again = false;      // As Write's: it may even stand already.
  std::string keep_also;   // Which others stay, as checkpoint/keep_rules.h writes it.
  std::string metadata;    // JSON object, or empty: the user's.
  template <typename A>
  void Fields(A& a) {
    a(generation, step, nonce, nodes, reports, host_state, topology, keep, again, keep_also,
      metadata);
  }
};

// Asks for the newest commit of the run.  Answered by Loaded.
struct Load {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

// Answered by nothing: the mover ends with 0.
struct Quit {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

using ToMover = std::variant<Open, Claim, Write, Commit, Load, Quit, OpenNewest, ReadBlocks,
                             KeepPart, FindParts, DropParts, MovePart, LoadParts, FindSave>;

// ---- the mover answers --------------------------------------------------------------------------

struct Opened {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

struct Claimed {
  std::uint64_t generation = 0;
  std::uint64_t nonce = 0;
  template <typename A>
  void Fields(A& a) {
    a(generation, nonce);
  }
};

struct Written {
  ShardReport report;
  template <typename A>
  void Fields(A& a) {
    a(report);
  }
};

struct Committed {
  std::uint64_t step = 0;
  std::uint64_t bytes = 0;  // Of all shards.
  template <typename A>
  void Fields(A& a) {
    a(step, bytes);
  }
};

// Carries a descriptor when `found`: a memfd with the whole tensors' bytes one after the other in
// this order.  `notes` are for people, such as a torn commit record that was passed over.
struct Loaded {
  bool found = false;
  std::uint64_t generation = 0, step = 0;
  std::vector<link::StagedTensor> tensors;
  std::string host_state;
  std::vector<std::string> notes;
  template <typename A>
  void Fields(A& a) {
    a(found, generation, step, tensors, host_state, notes);
  }
};

struct Failed {
  Code code = Code::kInternal;
  std::string text;
  template <typename A>
  void Fields(A& a) {
    a(code, text);
  }
};

using FromMover =
    std::variant<Opened, Claimed, Written, Committed, Loaded, Failed, CheckpointOpened, BlocksRead,
                 PartKept, PartsFound, PartsDropped, PartsLoaded>;

}  // namespace muster::mover
