// Who this process is among the ranks of its job, as its launcher tells it in the environment.
//
// muster sets MUSTER_*; mpirun sets OMPI_COMM_WORLD_*; without either the process is alone.  Any
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "runtime/base/result.h"

namespace muster {

enum class Launcher { kNone, kMuster, kMpirun };

struct RankInfo {
  Launcher launcher = Launcher::kNone;
  std::int32_t rank = 0;
  std::int32_t world_size = 1;
  std::int32_t local_rank = 0;
  std::int32_t local_world_size = 1;
  // mpirun does not tell these two: with it they are 0 and 0.
  std::int32_t node_rank = 0;
  std::int32_t num_nodes = 1;
  std::uint32_t attempt = 0;
  std::string job_id;
  std::string run_id;
  std::optional<int> link_fd;
  std::string link_token;
  bool operator==(const RankInfo&) const = default;
};

// The error names the variable, what it is and what it may be.
Result<RankInfo> WhoAmI();

// The same from any environment.  Pure.
using EnvLookup = std::function<std::optional<std::string>(const std::string& name)>;
Result<RankInfo> ReadRankInfo(const EnvLookup& env);

}  // namespace muster
