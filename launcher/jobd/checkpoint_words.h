// What the checkpoint parts of a job's daemons say to each other, inside peer::ForMover.
//
//   1. Head to each: AskParts.  Each host, once nothing of an earlier attempt is being written any
//      more: HasPart for each part of a save that was not committed, then PartsTold.
//   2. Head to the hosts whose part of a whole save is not in the shared store yet: MoveOn, which
//      MovedOn answers; then it commits the save in its own, old generation.
//   3. Head to all: Generation, once its mover has claimed it for the attempt.  From here on no
//      save of an older one can be committed, so local copies of them go.
//   4. Each host to the head: SaveCame, when its first rank comes to a save, and ShardEnded, when
//      its part of it is written, or cannot be; NoMoreSaves, when all its ranks have ended.
//   5. Head to all: SaveEnded, when the save is committed, or will not be: also when a host did not
//      come to it within the time that the others' ranks and the store have.
//   6. Each host to the head: LoadCame, when all its ranks have come to a load.  Head to each of
//      them, when all hosts have, or not all in time: LoadOf, with the newest commit, the same for
//      all.
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

inline constexpr char kNotCommon[] =
    "the ranks do not save the same: a tensor that is no shard has one name, dtype and shape on "
    "all "
    "ranks; what only some have is a shard of a tensor (muster.Shard)";

inline constexpr char kAllSave[] =
    "all ranks save the same steps, in the same order, not rank 0 alone";

struct ShardEnded {
  std::uint64_t step = 0;
  std::uint64_t nonce = 0;
  mover::ShardReport report;
  std::string host_state, error;
  bool store_failed = false;  // And not only the mover.
  std::uint64_t common = 0;   // Of link::SaveBegin.
  template <typename A>
  void Fields(A& a) {
    a(step, nonce, report, host_state, error, store_failed, common);
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

struct AskParts {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

struct HasPart {
  mover::Part part;
  bool shared = false;  // The shared store has it; else the host's local one.
  template <typename A>
  void Fields(A& a) {
    a(part, shared);
  }
};

struct PartsTold {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

struct MoveOn {
  mover::SaveName save;
  template <typename A>
  void Fields(A& a) {
    a(save);
  }
};

struct MovedOn {
  mover::SaveName save;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(save, error);
  }
};

struct SaveCame {
  std::uint64_t step = 0;
  std::uint32_t timeout_ms = 0;  // So long may its ranks wait for others.
  template <typename A>
  void Fields(A& a) {
    a(step, timeout_ms);
  }
};

struct NoMoreSaves {
  template <typename A>
  void Fields(A& a) {
    a();
  }
};

struct LoadCame {
  std::uint64_t number = 0;      // Of the host's own loads.
  std::uint32_t timeout_ms = 0;  // So long may its ranks wait for others.
  template <typename A>
  void Fields(A& a) {
    a(number, timeout_ms);
  }
};

struct LoadOf {
  std::uint64_t number = 0;  // Of LoadCame.
  bool found = false;        // Else there is no commit, or an error.
  mover::SaveName save;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(number, found, save, error);
  }
};

using Message = std::variant<Generation, ShardEnded, SaveEnded, AskParts, HasPart, PartsTold,
                             MoveOn, MovedOn, SaveCame, NoMoreSaves, LoadCame, LoadOf>;

}  // namespace muster::checkpoint_words
