// Started by mpirun: holds the MPI group to what every group must do.
#include <cstdio>

#include "runtime/base/env_posix.h"
#include "runtime/base/rank_posix.h"
#include "runtime/comm/group_mpi.h"
#include "tests/unit/comm/conformance.h"

int main() {
  const auto info = muster::WhoAmI();
  CHECK(info.ok());
  auto session = muster::MpiSession::Start(info->world_size);
  if (!session.ok()) {
    std::printf("%s\n", session.status().message().c_str());
    return 1;
  }
  const auto group = (*session)->World();
  auto complaints = muster::testing::BrokenPromises(*group);
  if (muster::GetEnv("OMPI_MCA_coll")) {
    complaints.emplace_back("programs that this one starts would inherit its lean start");
  }
  for (const std::string& complaint : complaints) {
    std::printf("rank %d: broken: %s\n", group->rank(), complaint.c_str());
  }
  const auto place = (*session)->FindPlace();
  CHECK(place.ok());
  std::printf("rank %d of %d: node %d, local rank %d, %zu broken\n", group->rank(),
              group->world_size(), place->node, place->local_rank, complaints.size());
  return complaints.empty() ? 0 : 1;
}
