// How an agent presents itself and its node to the coordinator.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/statuses.h"

namespace muster {

// The answer to SessionOpened (agent.h), with the incarnation that was drawn for the session.
struct Registration {
  NodeName node;
  Incarnation incarnation = 0;
  std::string boot_id;
  std::uint32_t slots = 0;
  std::vector<std::string> addresses;
  std::string block, leaf, spine;
  std::vector<JobdStatus> jobds;
};

}  // namespace muster
