// Which of the resource limits that a job asks for this node does not give.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/orders.h"

namespace muster {

// A sentence for each whose soft limit is cut, since ours may not be raised.  Any thread but none
// beside it: ours are changed for a moment, to see.
std::vector<std::string> LimitsCut(const std::vector<ResourceLimit>& wanted, const NodeName& node);

}  // namespace muster
