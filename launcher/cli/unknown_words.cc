#include "launcher/cli/unknown_words.h"

#include <algorithm>
#include <vector>

#include "runtime/base/text.h"

namespace muster {
namespace {

std::string WhereAProgramGoes(const CLI::App& command, bool has_dashes) {
  const std::string& verb = command.get_name();
  if (has_dashes || (verb != "run" && verb != "exec")) return "";
  return "; a program and its arguments come after --, such as muster " + verb +
         (verb == "run" ? " -N 2" : " 7 --rank 3") + " -- ./my_program --its-option";
}

}  // namespace

// Options first, since a word behind one may have been its value.
std::string UnknownWords(const CLI::App& command, bool has_dashes) {
  for (const std::string& word : command.remaining(true)) {
    if (word.rfind("--", 0) != 0) continue;
    const std::string name = word.substr(0, word.find('='));
    std::vector<std::string> known;
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& one : option->get_lnames()) known.push_back("--" + one);
    }
    const auto nearest = Nearest(name, known);
    const auto same_end = std::find_if(known.begin(), known.end(), [&](const std::string& one) {
      return one.ends_with("-" + name.substr(2));
    });
    const std::string meant = nearest ? *nearest : same_end != known.end() ? *same_end : "";
    return "unknown option " + name + (meant.empty() ? "" : "; did you mean " + meant + "?") +
           WhereAProgramGoes(command, has_dashes);
  }
  return "takes no '" + Join(command.remaining(true), " ") + "'" +
         WhereAProgramGoes(command, has_dashes);
}

}  // namespace muster
