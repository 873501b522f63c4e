// Which kernels OpenBLAS uses must be known before the program starts: Debian 12's takes newer
// Xeons for a Prescott and is then five times slower, and equal bits need one family everywhere.
#pragma once

#include "runtime/base/result.h"

namespace muster {

// Sets OPENBLAS_CORETYPE for this processor and starts this program anew, unless it is set.
// Returns only if it is set or cannot be helped.  Call first in main.
void EnsureBlasCoreType(char** argv);

}  // namespace muster
