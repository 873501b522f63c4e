#include "launcher/jobd/binding.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

// Two NUMA nodes of 8 cores with two hardware threads each, four GPUs and four NICs on each; the
// GPUs of the second node come first, as on boards where PCI counts that way.
Machine Server() {
  Machine machine;
  for (std::uint32_t core = 0; core < 16; ++core) {
    machine.cores.push_back({.cpus = {core, core + 16}, .numa = core < 8 ? 0 : 1});
  }
  for (int i = 0; i < 8; ++i) {
    machine.gpus.push_back({.name = "gpu" + std::to_string(i), .numa = i < 4 ? 1 : 0});
    machine.nics.push_back({.name = "mlx5_" + std::to_string(i), .numa = i < 4 ? 0 : 1});
  }
  return machine;
}

std::vector<std::string> Cpus(const SeatingPlan& plan) {
  std::vector<std::string> cpus;
  for (const SeatPlan& seat : plan.seats) cpus.push_back(seat.seat.cpus);
  return cpus;
}

using Texts = std::vector<std::string>;

TEST(PlanSeats, PutsARankNearItsGpuAndItsNic) {
  const SeatingPlan plan =
      PlanSeats(Server(), {.first_rank = 8, .slots = {0, 1, 4, 7}, .total = 8});
  ASSERT_EQ(plan.seats.size(), 4U);
  EXPECT_EQ(Cpus(plan), (Texts{"8-15,24-31", "8-15,24-31", "0-7,16-23", "0-7,16-23"}));
  EXPECT_EQ(
      plan.seats[0].seat,
      (Seat{.rank = 8, .slot = 0, .cpus = "8-15,24-31", .numa = 1, .gpu = 0, .nic = "mlx5_4"}));
  EXPECT_EQ(plan.seats[1].seat.nic, "mlx5_5");
  EXPECT_EQ(plan.seats[3].seat.nic, "mlx5_3");
  EXPECT_EQ(plan.seats[3].cores, 8U);
}

TEST(PlanSeats, GivesEachSlotItsShareOfTheCores) {
  const SeatingPlan plan =
      PlanSeats(Server(), {.bind = Bind::kCore, .slots = {0, 3, 4}, .total = 8});
  EXPECT_EQ(Cpus(plan), (Texts{"8-9,24-25", "14-15,30-31", "0-1,16-17"}));
  EXPECT_EQ(plan.seats[0].cores, 2U);
}

// A job on slots 2 and 3 must not get the cores of one on slots 0 and 1.
TEST(PlanSeats, TwoJobsNeverShareACore) {
  Machine machine;
  for (std::uint32_t core = 0; core < 4; ++core) machine.cores.push_back({.cpus = {core}});
  const SeatWish first{.bind = Bind::kCore, .slots = {0, 1}, .total = 4};
  const SeatWish second{.bind = Bind::kCore, .slots = {2, 3}, .total = 4};
  EXPECT_EQ(Cpus(PlanSeats(machine, first)), (Texts{"0", "1"}));
  EXPECT_EQ(Cpus(PlanSeats(machine, second)), (Texts{"2", "3"}));
}

TEST(PlanSeats, LeavesAMachineOfOneNumaNodeAloneUnlessAsked) {
  Machine machine{.cores = {{.cpus = {0, 1}}}};
  const SeatWish wish{.slots = {0}, .total = 1};
  EXPECT_EQ(Cpus(PlanSeats(machine, wish)), (Texts{""}));
  EXPECT_EQ(PlanSeats(machine, wish).seats[0].seat.numa, -1);
  const SeatWish none{.bind = Bind::kNone, .slots = {0, 5}, .total = 8};
  EXPECT_EQ(Cpus(PlanSeats(Server(), none)), (Texts{"", ""}));
}

TEST(PlanSeats, BindsNobodyWhereCoresAreTooFewAndSaysSo) {
  const Machine machine{.cores = {{.cpus = {0}}, {.cpus = {1}}}};
  const SeatingPlan plan =
      PlanSeats(machine, {.bind = Bind::kCore, .slots = {0, 1, 2, 3}, .total = 4});
  EXPECT_EQ(Cpus(plan), (Texts{"", "", "", ""}));
  EXPECT_EQ(plan.note, "nobody is bound: the machine has 2 cores for 4 slots");
}

TEST(PlanSeats, KnowsNoGpuOfASlotThatHasNone) {
  Machine machine = Server();
  machine.gpus.resize(1);
  const SeatingPlan plan = PlanSeats(machine, {.slots = {0, 1}, .total = 2});
  EXPECT_EQ(plan.seats[0].seat.gpu, 0);
  EXPECT_EQ(plan.seats[1].seat.gpu, -1);
  // GPUs whose place the kernel does not know, and a machine that nobody looked at.
  machine.gpus[0].numa = -1;
  EXPECT_EQ(PlanSeats(machine, {.slots = {0}, .total = 2}).seats[0].seat.numa, 0);
  EXPECT_EQ(Cpus(PlanSeats({}, {.slots = {3}, .total = 1})), (Texts{""}));
}

TEST(CpuList, IsTheKernels) {
  EXPECT_EQ(CpuList({}), "");
  EXPECT_EQ(CpuList({3, 1, 2, 7, 9, 10}), "1-3,7,9-10");
}

}  // namespace
}  // namespace muster
