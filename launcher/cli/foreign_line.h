// Command lines of other launchers: which flags they have, and what becomes of each here.
//
// One table of flags is both what is understood and what --help prints.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli/command_line.h"
#include "launcher/cli/exit_status.h"

namespace muster {

enum class FlagFate : std::uint8_t {
  kHonoured,  // `words` says as what.
  kIgnored,   // Has no meaning here; `words` says why.
  kRefused,   // Leaving it out would change what the user gets; `words` says what to do instead.
};

struct ForeignFlag {
  std::vector<std::string> names;  // With dashes; the first is the one to know it by.
  std::string value;               // Its arguments, as --help names them: "", "N", "NAME VALUE".
  FlagFate fate = FlagFate::kHonoured;
  std::string words;
};

// How a launcher wants its flags spelled.
enum class Dashes : std::uint8_t {
  kArgparse,  // Long ones with two dashes, '_' for '-', any beginning that only one has; -r3.
  kOpenMpi,   // Long ones with one dash or two.
};

struct ForeignLauncher {
  std::string verb;  // "torchrun".
  Dashes dashes = Dashes::kArgparse;
  std::string program;  // "SCRIPT": what comes after the flags.
  std::string example;
  std::string about;
  // Of the environment variables that give a flag its default: PET_NNODES for --nnodes.
  std::string variables;
  std::vector<ForeignFlag> flags;
};

struct FlagUse {
  std::size_t flag = 0;  // In ForeignLauncher::flags.
  std::string spelled;   // As the user wrote it, without its value.
  std::vector<std::string> values;
};

// The flags that stand before the program, in order, and the program with all that is its own.
struct ForeignLine {
  std::vector<FlagUse> uses;
  std::vector<std::string> program;
};

// What the environment ("NAME=value") says of flags that the command line leaves out comes first.
// kInvalid: a flag that is not known (with the nearest one that is), that misses its value, or
// that is refused.
Result<ForeignLine> ReadForeignLine(const ForeignLauncher& launcher,
                                    const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& environment = {});

// "--rdzv-id, --rdzv-conf: muster needs no rendezvous; ignored": one line for each reason.
std::vector<std::string> IgnoredNotes(const ForeignLauncher& launcher, const ForeignLine& line);

std::string ForeignHelp(const ForeignLauncher& launcher);

// What ends a command line that is not understood: the complaint, and exit 2.
Parsed ForeignMistake(const ForeignLauncher& launcher, const std::string& what);

// A whole number within [least, most], or kInvalid that names the flag.
Result<std::uint32_t> FlagNumber(const FlagUse& use, const std::string& text, std::uint32_t least,
                                 std::uint32_t most);

// What is muster's own in every such table: --cluster, --json and --help.
std::vector<ForeignFlag> OwnFlags();

// Translation takes each flag (Take), then the program (Finish), and says what the user ought to
// know (Notes).
template <typename Translation>
Parsed Translate(const ForeignLauncher& launcher, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment = {}) {
  const auto line = ReadForeignLine(launcher, arguments, environment);
  if (!line.ok()) return ForeignMistake(launcher, line.status().message());
  Translation translation;
  for (const FlagUse& use : line->uses) {
    const std::string& name = launcher.flags[use.flag].names[0];
    if (name == "--help") {
      return {.command = {}, .text = ForeignHelp(launcher), .exit = kExitOk, .notes = {}};
    }
    const Status taken = translation.Take(use, name);
    if (!taken.ok()) return ForeignMistake(launcher, taken.message());
  }
  auto run = translation.Finish(line->program);
  if (!run.ok()) return ForeignMistake(launcher, run.status().message());
  return {
      .command = *std::move(run), .text = "", .exit = kExitOk, .notes = translation.Notes(*line)};
}

}  // namespace muster
