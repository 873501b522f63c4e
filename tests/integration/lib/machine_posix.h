// Reads from this machine what traces.h describes.
#pragma once

#include <string>

#include "tests/integration/lib/traces.h"

namespace muster::testing {

// Everything of the test with this mark, and what muster left that is no other living test's.
Traces LookAtMachine(const std::string& mark);

}  // namespace muster::testing
