// The flags of Open MPI's mpirun (4.1 and 5, and some of MPICH's), and what becomes of each.
//
// Pure values; any thread.
#pragma once

#include <string>

#include "launcher/cli/foreign_line.h"

namespace muster {

const ForeignLauncher& Mpirun();

// Whether an MCA parameter means Open MPI's own launcher, not the library that ranks load.
bool IsOfMpiLauncher(const std::string& parameter);

}  // namespace muster
