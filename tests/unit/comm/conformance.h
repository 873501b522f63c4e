// What every process group must do, whatever carries it: run on each rank of a group.
#pragma once

#include <string>
#include <vector>

#include "runtime/comm/process_group.h"

namespace muster::testing {

// One sentence for each promise that did not hold on this rank.
std::vector<std::string> BrokenPromises(ProcessGroup& group);

}  // namespace muster::testing
