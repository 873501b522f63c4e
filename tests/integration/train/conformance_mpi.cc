// conformance_mpi [hybrid [NODES]]: started by mpirun or by a job daemon, holds the MPI group, or
// the hybrid one, to what every group must do.  NODES: that many nodes are played on this host.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/base/env_posix.h"
#include "runtime/base/rank_posix.h"
#include "runtime/comm/group_mpi.h"
#include "tests/unit/comm/conformance.h"

namespace muster {
namespace {

Result<std::unique_ptr<ProcessGroup>> Open(MpiSession& session, int argc, char** argv,
                                           const RankInfo& info, testing::GroupShape* shape) {
  if (argc < 2 || std::strcmp(argv[1], "hybrid") != 0) return session.World();
  int nodes = info.num_nodes;
  int node = info.node_rank;
  if (argc > 2) {
    // The first node has the longer run.
    nodes = std::atoi(argv[2]);
    const int each = (info.world_size + nodes - 1) / nodes;
    node = info.rank / each;
    for (int r = 0; nodes > 1 && r < info.world_size; ++r) shape->nodes.push_back(r / each);
  } else {
    for (int r = 0; nodes > 1 && r < info.world_size; ++r) {
      shape->nodes.push_back(r / info.local_world_size);
    }
  }
  return session.Hybrid(node);
}

int Main(int argc, char** argv) {
  const auto info = WhoAmI();
  CHECK(info.ok());
  auto session = MpiSession::Start(info->world_size);
  if (!session.ok()) {
    std::printf("%s\n", session.status().message().c_str());
    return 1;
  }
  testing::GroupShape shape;
  const auto group = Open(**session, argc, argv, *info, &shape);
  if (!group.ok()) {
    std::printf("%s\n", group.status().message().c_str());
    return 1;
  }
  auto complaints = testing::BrokenPromises(**group, shape);
  if (GetEnv("OMPI_MCA_coll")) {
    complaints.emplace_back("programs that this one starts would inherit its lean start");
  }
  for (const std::string& complaint : complaints) {
    std::printf("rank %d: broken: %s\n", (*group)->rank(), complaint.c_str());
  }
  const auto place = (*session)->FindPlace();
  CHECK(place.ok());
  std::printf("rank %d of %d: %s, node %d, local rank %d, %zu broken\n", (*group)->rank(),
              (*group)->world_size(), (*group)->backend(), place->node, place->local_rank,
              complaints.size());
  return complaints.empty() ? 0 : 1;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main(argc, argv);
}
