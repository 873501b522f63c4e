// The text to train on: one file, or the regular files of a folder (links are left out), one after
// the other in the order of their names.  Any thread.
#pragma once

#include <string>

#include "runtime/base/result.h"

namespace muster {

Result<std::string> LoadText(const std::string& path);

}  // namespace muster
