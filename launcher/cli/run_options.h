// The options of `muster run`, bound to a RunCommand.  Pure.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "launcher/cli/command_line.h"

namespace muster {

// `run` must stay where it is until the parsing is over.
void AddRunOptions(CLI::App& app, RunCommand& run);

// What no single option can tell; empty: all is well.
std::string CheckRun(const RunCommand& run);

// For CLI11: empty, or what is wrong.
std::string CheckName(const std::string& text);

}  // namespace muster
