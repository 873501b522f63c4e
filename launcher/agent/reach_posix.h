// Whether a job's owner can get to the folders that root's agent made for the job.
//
// The agent's loop only: for a moment its thread looks at files as the owner.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// kDenied names the first folder on the way that keeps `owner` out.  Ok at once unless we are root
// and `owner` is not.
Status CheckReach(const Owner& owner, const std::vector<std::string>& folders);

}  // namespace muster
