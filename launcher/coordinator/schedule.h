// What placement is shown of the cluster.  Pure; any thread.
#pragma once

#include "launcher/coordinator/state.h"
#include "launcher/placement/placement.h"

namespace muster {

// Every node as `job` would find it: what is free, what cannot be used, where its daemons are.
std::vector<NodeView> ViewFor(const State& state, const Job& job);

Wish WishOf(const JobSpec& spec);

}  // namespace muster
