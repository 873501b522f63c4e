// What other launchers set for each rank, as a value: programs look for these to find themselves.
//
// torchrun's and JAX's are always there; those of Slurm, Horovod, DeepSpeed and Open MPI's mpirun
// on request, since frameworks that detect them behave differently.  configs/environment.md says
// who detects what.  Pure; any thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runtime/base/orders.h"

namespace muster {

using Variables = std::map<std::string, std::string>;

// One rank's place in its attempt.
struct RankPlace {
  std::uint32_t rank = 0, local_rank = 0, local_world = 1;
  std::uint32_t host_index = 0;
  std::uint32_t world = 1;
};
RankPlace PlaceOf(const StartAttempt& order, std::uint32_t local_rank);

// Where the ranks meet.
struct Meeting {
  std::string address;          // Of rank 0's node, as the other nodes reach it.
  std::uint16_t port = 0;       // MASTER_PORT.
  std::uint16_t next_port = 0;  // For JAX, whose programs may use torch, too.
  std::string interface;        // Of this node, towards the others.  Empty: unknown.
};

// Ranks of all hosts.
std::uint32_t WorldSize(const StartAttempt& order);

void AddTorchrun(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
                 Variables& all);
void AddJax(const Meeting& meeting, Variables& all);
// What libraries would otherwise guess from host names and the first interface (D11).
void AddInterface(const Meeting& meeting, Variables& all);

// Those that the order asks for.
void AddContracts(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
                  Variables& all);

// Whether an outer launcher set it for one of its own ranks: ours would take it for their own.
bool OfOuterRank(std::string_view name);

}  // namespace muster
