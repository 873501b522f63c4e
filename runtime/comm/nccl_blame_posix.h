// Who did not come: ranks that wait tell each other so by keys, and who has told nothing is named.
//
// Keys are written when a rank has waited for long or has failed, never while all is well.
#pragma once

#include <string>
#include <vector>

#include "runtime/comm/kv.h"

namespace muster {

class Blame {
 public:
  // `name`: of the group.
  Blame(KeyValueStore& store, std::string name, int rank, int ranks)
      : store_(store), name_(std::move(name)), rank_(rank), ranks_(ranks) {}

  // This rank waits in the group's collective `seq`; 0: for the group itself.
  void Tell(std::uint64_t seq);
  // "rank 2 did not come", "ranks 0, 3 did not come", or "" when all have told that they are as
  // far. Asks for as long as `patience` says.
  std::string Missing(std::uint64_t seq, Duration patience);

 private:
  std::string KeyOf(int rank) const { return name_ + "/at/" + std::to_string(rank); }

  KeyValueStore& store_;
  const std::string name_;
  const int rank_, ranks_;
};

}  // namespace muster
