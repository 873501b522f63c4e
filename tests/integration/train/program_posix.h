// Runs a program to its end and keeps what it wrote.  One thread.
#pragma once

#include <string>
#include <vector>

namespace muster::testing {

struct ProgramEnd {
  int exit_code = 0;
  std::string output;  // stdout and stderr.
};

// `environment` is added, as NAME=value.
ProgramEnd RunProgram(const std::vector<std::string>& words,
                      const std::vector<std::string>& environment = {});

}  // namespace muster::testing
