// Who sits where: the cores, GPU and NIC of each rank, drawn and as JSON.  Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/cli/cluster.h"

namespace muster {

// A line a rank with a bar of its node's CPUs, '#' for those that it runs on.
std::string SeatPage(const JobView& job);

// One object a rank: {"rank", "slot", "cpus", "numa", "gpu", "nic"}, without what it does not have.
nlohmann::ordered_json SeatsJson(const Seating& seating);

}  // namespace muster
