// What is said of words on the command line that its command does not take.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace muster {

// After ExtrasError.  `has_dashes`: the line has a program behind --.
std::string UnknownWords(const CLI::App& command, bool has_dashes);

}  // namespace muster
