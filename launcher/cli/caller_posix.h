// Who calls, and what of the caller's surroundings a job takes over.  Call before any thread
// starts.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// For `run`: the caller's environment, working directory, umask and resource limits.
Result<Program> CallerProgram(const std::vector<std::string>& argv);

// For `submit`: only what the file says, and what any program needs (PATH, HOME, USER, LOGNAME).
Program PlainProgram(const std::vector<std::string>& argv,
                     const std::vector<std::string>& environment, const std::string& workdir);

// CPUs of this host.
std::uint32_t HostCpus();

}  // namespace muster
