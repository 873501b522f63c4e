// One history of a run's checkpoints: attempts one after the other and on top of each other, each
// with its movers; crashes and faults wherever the seed puts them; and what must hold all the same.
//
//   lost   A commit that was acknowledged, or that somebody has loaded, is there and loads, until
//          `keep` newer ones are.  Generations are given once; nobody commits behind a newer claim.
//   torn   What a load gives, and what a record names, is one save, whole.
//   stuck  When the faults are over, the next attempt claims, loads, saves and clears up.
//   blind  A bit flipped or an end cut off anywhere in the newest commit is found and placed.
#pragma once

#include <cstdint>
#include <string>

#include "tests/soak/crashes/client.h"

namespace muster::checkpoint {

// Empty, or what is broken, beginning with one of the four words.
std::string RunHistory(std::uint64_t seed, Tally& tally, bool trace);

}  // namespace muster::checkpoint
