// Which cores, GPU and NIC belong to a slot of this machine.
//
// All slots of the node are laid out, not only the job's: two jobs never share a core because each
// counted from the first one.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/launch.h"
#include "runtime/base/statuses.h"

namespace muster {

struct Core {
  std::vector<std::uint32_t> cpus;  // Its hardware threads, as the kernel numbers them.
  std::int32_t numa = 0;            // The kernel's number of its NUMA node.
};

struct Device {
  std::string name;
  std::int32_t numa = -1;  // -1: unknown.
};

// What a machine has; GPUs in the order of CUDA_DEVICE_ORDER=PCI_BUS_ID, as slots count them.
struct Machine {
  std::vector<Core> cores;
  std::vector<Device> gpus, nics;
};

struct SeatPlan {
  Seat seat;
  std::vector<std::uint32_t> cpus;  // Empty: not bound.
  std::uint32_t cores = 0;          // That they are the threads of.
};

struct SeatWish {
  Bind bind = Bind::kAuto;
  std::uint32_t first_rank = 0;
  std::vector<std::uint32_t> slots;  // Of the ranks, in order.
  std::uint32_t total = 1;           // Slots of the machine.
};

struct SeatingPlan {
  std::vector<SeatPlan> seats;  // One a rank.
  std::string note;             // Why nobody is bound although that was asked for.
};

SeatingPlan PlanSeats(const Machine& machine, const SeatWish& wish);

// "0-3,8": the kernel's list format.
std::string CpuList(std::vector<std::uint32_t> cpus);

}  // namespace muster
