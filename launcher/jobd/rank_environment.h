// The environment of one rank, as a value.
//
// What the job brought, without what an outer launcher left in it, then ours: MUSTER_*, the
// variables of torchrun, and Open MPI's.  What the job sets itself wins where a default of ours is
// only a default (D1a).  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/orders.h"

namespace muster {

// What the machine and the attempt add to the order.
struct RankSurroundings {
  std::uint32_t cores = 1;       // That this process may run on.
  std::uint32_t ranks_here = 1;  // Of the attempt on this machine: embedded nodes share it.
  bool loopback_only = false;    // Every host of the attempt is reached over lo.
  std::string master_address;    // The head's, as the followers reached it.
  std::uint16_t master_port = 0;
  std::string cluster_cookie, job_cookie;
  std::string link_token;
  int link_fd = -1;
  std::string mpi_folder;         // Open MPI's session files; the PMIx helper's folder.
  std::string shm_folder;         // Open MPI's shared memory.
  std::vector<std::string> pmix;  // What the PMIx server wants, NAME=value.
};

// NAME=value, one entry a name.  `local_rank` counts in the order's host.
std::vector<std::string> RankEnvironment(const StartAttempt& order, std::uint32_t local_rank,
                                         const RankSurroundings& around);

// Ranks of all hosts.
std::uint32_t WorldSize(const StartAttempt& order);

}  // namespace muster
