// `muster torchrun`: the command line of torchrun (and of torch.distributed.launch), understood.
//
// Pure values; any thread.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/command_line.h"

namespace muster {

// `arguments`: without the verb.  PET_* of the environment are defaults, as of torchrun's.
Parsed ParseTorchrunLine(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment = {});

}  // namespace muster
