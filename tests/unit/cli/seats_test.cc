#include "launcher/cli/seats.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Seats, AreDrawnARankALine) {
  JobView job;
  job.members = {
      {.node = "n0",
       .seating =
           {.cpus = 8,
            .seats = {{.rank = 0, .slot = 0, .cpus = "0-1,4", .numa = 0, .gpu = 0, .nic = "mlx5_0"},
                      {.rank = 1, .slot = 5}}}},
      {.node = "n1",
       .seating = {.cpus = 256, .seats = {{.rank = 2, .cpus = "0-127"}}, .note = "x"}},
      {.node = "n2"}};
  EXPECT_EQ(SeatPage(job),
            "n0: 8 CPUs\n"
            "  rank 0    slot 0   ##..#...  CPUs 0-1,4, NUMA 0, GPU 0, NIC mlx5_0\n"
            "  rank 1    slot 5   ........  not bound\n"
            "n1: 256 CPUs; x\n"
            "  rank 2    slot 0   " +
                std::string(32, '#') + std::string(32, '.') +
                "  CPUs 0-127\n"
                "n2: its ranks have no seats yet\n");
  EXPECT_EQ(SeatPage({}), "the job has not been placed yet\n");
  EXPECT_EQ(SeatsJson(job.members[0].seating).dump(),
            R"([{"rank":0,"slot":0,"cpus":"0-1,4","numa":0,"gpu":0,"nic":"mlx5_0"},)"
            R"({"rank":1,"slot":5}])");
}

}  // namespace
}  // namespace muster
