// `muster mpirun`: the command line of Open MPI's mpirun (4.1 and 5), understood.
//
// Pure values; any thread.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/command_line.h"

namespace muster {

// `arguments`: without the verb.  How many nodes is left to RunCommand::wish.
Parsed ParseMpirunLine(const std::vector<std::string>& arguments);

}  // namespace muster
