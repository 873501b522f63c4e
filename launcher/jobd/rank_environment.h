// The environment of one rank, as a value.
//
// What the job brought, without what an outer launcher left in it, then ours: MUSTER_*, Open MPI's,
// and those of other launchers (env_contracts.h).  What the job sets itself wins where a default of
// ours is only a default (D1a).  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/jobd/env_contracts.h"

namespace muster {

// What the machine and the attempt add to the order.
struct RankSurroundings {
  std::uint32_t cores = 1;       // That this process may run on.
  std::uint32_t ranks_here = 1;  // Of the attempt on this machine: embedded nodes share it.
  Meeting meeting;
  std::uint32_t bound_cores = 0;  // That the rank is tied to; 0: to none.
  std::uint32_t gpus = 0;         // Of the node.
  std::string cluster_cookie, job_cookie;
  std::string link_token;
  int link_fd = -1;
  std::string mpi_folder;         // Open MPI's session files; the PMIx helper's folder.
  std::string shm_folder;         // Open MPI's shared memory.
  std::vector<std::string> pmix;  // What the PMIx server wants, NAME=value.
};

// What the job's node has but none of its ranks: for its prolog and epilog.
std::vector<std::string> NodeEnvironment(const StartAttempt& order);

// NAME=value, one entry a name.  `local_rank` counts in the order's host.
std::vector<std::string> RankEnvironment(const StartAttempt& order, std::uint32_t local_rank,
                                         const RankSurroundings& around);

// That of a program beside the rank whose process and environment these are: without what would
// make it take itself for the rank.
std::vector<std::string> EnvironmentBeside(const std::vector<std::string>& of_rank,
                                           const std::string& pid);

}  // namespace muster
