// What placement is shown of the cluster.  Pure; any thread.
#pragma once

#include "launcher/coordinator/state.h"
#include "launcher/placement/placement.h"

namespace muster {

// Every node as `job` would find it: what is free, what cannot be used, where its daemons are.
std::vector<NodeView> ViewFor(const State& state, const Job& job);

Wish WishOf(const JobSpec& spec);

// Empty, or what a job that resumes a run waits for: its jobs come one after the other, each when
// the one before has written what it staged.  Those that were submitted first are first.
std::string WaitsForRun(const State& state, const Job& job);

}  // namespace muster
