// Everything that is wrong with a file that a user wrote, all at once, where it stands.  Pure.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace muster {

struct Mistake {
  int line = 0, column = 0;  // From 1; 0: the file as a whole.
  std::string text;          // What was found, what is allowed.
  bool operator==(const Mistake&) const = default;
};

using Mistakes = std::vector<Mistake>;

// One line a mistake, "job.yaml:3:7: ...", in the order of the file.  kInvalid.
Status MistakesStatus(const std::string& file, Mistakes mistakes);

// Names that become parts of paths and of host lists: a letter or digit, then letters, digits, dot,
// dash, underscore, at most 63 in all.
bool IsName(std::string_view text);

}  // namespace muster
