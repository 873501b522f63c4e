// The cores of this machine that this process may use, from hwloc.  Any thread; a few milliseconds.
#pragma once

#include <string>
#include <vector>

#include "launcher/jobd/binding.h"
#include "runtime/base/result.h"

namespace muster {

// `synthetic`: a machine in hwloc's words ("numa:2 core:4 pu:2") instead of this one.
Result<std::vector<Core>> ReadCores(const std::string& synthetic = "");

}  // namespace muster
