#include "launcher/cli/foreign_line.h"

#include <algorithm>
#include <optional>

#include "launcher/cli/exit_status.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kHelpColumn = 34;
constexpr std::size_t kHelpWidth = 100;

std::size_t CountValues(const ForeignFlag& flag) {
  return flag.value.empty() ? 0 : Split(flag.value, ' ').size();
}

std::string WithoutDashes(const std::string& name) {
  return name.substr(name.rfind("--", 0) == 0 ? 2 : 1);
}

bool IsLong(const std::string& name) {
  return name.size() > 2 && name[0] == '-' && name[1] == '-';
}

class Reader {
 public:
  Reader(const ForeignLauncher& launcher, const std::vector<std::string>& arguments)
      : launcher_(launcher), arguments_(arguments) {}

  Result<ForeignLine> Read(const std::vector<std::string>& environment) {
    for (; next_ < arguments_.size(); ++next_) {
      const std::string& argument = arguments_[next_];
      if (argument == "--") {
        ++next_;
        break;
      }
      if (argument.size() < 2 || argument[0] != '-') break;
      RETURN_IF_ERROR(Take(argument));
    }
    line_.program.assign(arguments_.begin() + static_cast<std::ptrdiff_t>(next_), arguments_.end());
    if (!launcher_.variables.empty()) RETURN_IF_ERROR(TakeVariables(environment));
    return line_;
  }

 private:
  // Those of flags that the line does not have.
  Status TakeVariables(const std::vector<std::string>& environment) {
    std::vector<FlagUse> uses;
    for (std::size_t i = 0; i < launcher_.flags.size(); ++i) {
      const bool given = std::any_of(line_.uses.begin(), line_.uses.end(),
                                     [&](const FlagUse& use) { return use.flag == i; });
      const std::string name = VariableOf(launcher_.flags[i]);
      for (const std::string& entry : environment) {
        if (given || name.empty() || entry.rfind(name + "=", 0) != 0) continue;
        auto use = FromVariable(i, name, entry.substr(name.size() + 1));
        if (!use.ok()) return use.status();
        if (*use) uses.push_back(**std::move(use));
      }
    }
    line_.uses.insert(line_.uses.begin(), uses.begin(), uses.end());
    return {};
  }

  // "PET_NPROC_PER_NODE"; nothing for a flag of muster's own.
  std::string VariableOf(const ForeignFlag& flag) const {
    const std::vector<ForeignFlag> own = OwnFlags();
    const bool is_own = std::any_of(own.begin(), own.end(), [&](const ForeignFlag& some) {
      return some.names[0] == flag.names[0];
    });
    if (is_own) return "";
    std::string name = WithoutDashes(flag.names[0]);
    std::transform(name.begin(), name.end(), name.begin(), [](char c) {
      return c == '-' ? '_' : 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    return launcher_.variables + name;
  }

  // Nothing: it turns a switch off.
  Result<std::optional<FlagUse>> FromVariable(std::size_t index, const std::string& name,
                                              const std::string& value) const {
    const ForeignFlag& flag = launcher_.flags[index];
    FlagUse use = {.flag = index, .spelled = name, .values = {}};
    if (CountValues(flag) == 0) {
      const auto number = ParseSigned(value);
      if (!number) {
        return Status(Code::kInvalid, name + " takes 0 or 1; found '" + value + "'");
      }
      if (*number == 0) return std::optional<FlagUse>();
    } else {
      use.values.push_back(value);
    }
    if (flag.fate == FlagFate::kRefused) return Status(Code::kInvalid, name + ": " + flag.words);
    return std::optional<FlagUse>(std::move(use));
  }

  // One flag, and its values from where they stand.
  Status Take(const std::string& argument) {
    std::string spelled = argument;
    std::optional<std::string> attached;
    if (const std::size_t equals = argument.find('='); equals != std::string::npos) {
      spelled = argument.substr(0, equals);
      attached = argument.substr(equals + 1);
    } else if (launcher_.dashes == Dashes::kArgparse && !IsLong(argument) && argument.size() > 2) {
      spelled = argument.substr(0, 2);
      attached = argument.substr(2);
    }
    const auto found = Find(spelled);
    if (!found.ok()) return found.status();
    const ForeignFlag& flag = launcher_.flags[*found];
    if (flag.fate == FlagFate::kRefused) {
      return Status(Code::kInvalid, spelled + ": " + flag.words);
    }
    FlagUse use = {.flag = *found, .spelled = spelled, .values = {}};
    const std::size_t wanted = CountValues(flag);
    if (attached && wanted != 1) {
      return Status(Code::kInvalid, spelled + (wanted == 0 ? " takes no value" : " takes ") +
                                        flag.value + "; found '" + *attached + "'");
    }
    if (attached) use.values.push_back(*attached);
    while (use.values.size() < wanted) {
      if (next_ + 1 >= arguments_.size() || !MayBeValue(arguments_[next_ + 1])) {
        return Status(
            Code::kInvalid,
            spelled + " needs a value: " + spelled + " " + flag.value +
                (next_ + 1 < arguments_.size() ? "; found '" + arguments_[next_ + 1] + "'" : ""));
      }
      use.values.push_back(arguments_[++next_]);
    }
    line_.uses.push_back(std::move(use));
    return {};
  }

  bool MayBeValue(const std::string& text) const {
    return launcher_.dashes == Dashes::kOpenMpi || text.size() < 2 || text[0] != '-' ||
           ParseDouble(text);
  }

  Result<std::size_t> Find(const std::string& spelled) const {
    std::vector<std::size_t> begun;
    for (std::size_t i = 0; i < launcher_.flags.size(); ++i) {
      bool begins = false;
      for (const std::string& name : launcher_.flags[i].names) {
        if (Same(spelled, name)) return i;
        begins = begins || Begins(spelled, name);
      }
      if (begins) begun.push_back(i);
    }
    if (begun.size() == 1) return begun[0];
    if (begun.empty()) return Unknown(spelled);
    std::vector<std::string> names;
    for (const std::size_t i : begun) names.push_back(launcher_.flags[i].names[0]);
    return Status(Code::kInvalid, spelled + " may be " + Join(names, ", "));
  }

  std::string Normal(const std::string& spelled) const {
    if (launcher_.dashes == Dashes::kOpenMpi) return WithoutDashes(spelled);
    std::string name = spelled;
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
  }
  bool Same(const std::string& spelled, const std::string& name) const {
    return Normal(spelled) == Normal(name);
  }
  bool Begins(const std::string& spelled, const std::string& name) const {
    return launcher_.dashes == Dashes::kArgparse && IsLong(spelled) && IsLong(name) &&
           name.rfind(Normal(spelled), 0) == 0;
  }

  Status Unknown(const std::string& spelled) const {
    std::vector<std::string> known, shown;
    for (const ForeignFlag& flag : launcher_.flags) {
      for (const std::string& name : flag.names) {
        known.push_back(Normal(name));
        shown.push_back(name);
      }
    }
    const std::string meant =
        Nearest(Normal(spelled), known).value_or(MostInCommon(spelled, known));
    const auto at = std::find(known.begin(), known.end(), meant) - known.begin();
    const std::string hint =
        meant.empty() ? "" : "; did you mean '" + shown[static_cast<std::size_t>(at)] + "'?";
    return Status(Code::kInvalid, "unknown flag '" + spelled + "'" + hint);
  }

  // --nprocs is far from --nproc-per-node by edits, but begins as it does.
  std::string MostInCommon(const std::string& spelled,
                           const std::vector<std::string>& known) const {
    const std::string word = Normal(spelled);
    std::string best;
    std::size_t most = word.size() - WithoutDashes(spelled).size() + 3;
    for (const std::string& name : known) {
      const auto [end, unused] = std::mismatch(word.begin(), word.end(), name.begin(), name.end());
      const auto common = static_cast<std::size_t>(end - word.begin());
      if (common > most) {
        most = common;
        best = name;
      }
    }
    return best;
  }

  const ForeignLauncher& launcher_;
  const std::vector<std::string>& arguments_;
  std::size_t next_ = 0;
  ForeignLine line_;
};

// `words` in lines that begin at `column`; the first goes on where `begun` ends.
std::string Filled(std::string begun, std::size_t column, const std::string& words) {
  std::string out = std::move(begun);
  std::size_t width = out.size();
  for (const std::string& word : Split(words, ' ')) {
    if (width > column && width + 1 + word.size() > kHelpWidth) {
      out += "\n" + std::string(column, ' ');
      width = column;
    }
    const bool first = width <= column;
    out += std::string(first ? column - width : 1, ' ') + word;
    width = (first ? column : width + 1) + word.size();
  }
  return out;
}

std::string Row(const std::string& head, const std::string& meaning) {
  std::string begun = Filled("", 2, head);
  if (begun.size() + 2 > kHelpColumn) {
    begun += "\n";
    return begun + Filled("", kHelpColumn, meaning) + "\n";
  }
  return Filled(std::move(begun), kHelpColumn, meaning) + "\n";
}

std::string HelpOf(const ForeignLauncher& launcher, FlagFate fate) {
  std::string text;
  for (std::size_t i = 0; i < launcher.flags.size(); ++i) {
    const ForeignFlag& flag = launcher.flags[i];
    if (flag.fate != fate) continue;
    std::string head = Join(flag.names, ", ") + (flag.value.empty() ? "" : " " + flag.value);
    // Neighbours of one meaning share its lines.
    while (i + 1 < launcher.flags.size() && launcher.flags[i + 1].fate == fate &&
           launcher.flags[i + 1].words == flag.words) {
      head += ", " + Join(launcher.flags[++i].names, ", ");
    }
    text += Row(head, flag.words);
  }
  return text;
}

}  // namespace

Result<ForeignLine> ReadForeignLine(const ForeignLauncher& launcher,
                                    const std::vector<std::string>& arguments,
                                    const std::vector<std::string>& environment) {
  return Reader(launcher, arguments).Read(environment);
}

std::vector<std::string> IgnoredNotes(const ForeignLauncher& launcher, const ForeignLine& line) {
  std::vector<std::string> reasons;
  std::vector<std::vector<std::string>> spelled;
  for (const FlagUse& use : line.uses) {
    const ForeignFlag& flag = launcher.flags[use.flag];
    if (flag.fate != FlagFate::kIgnored) continue;
    const auto at = std::find(reasons.begin(), reasons.end(), flag.words);
    const auto index = static_cast<std::size_t>(at - reasons.begin());
    if (at == reasons.end()) {
      reasons.push_back(flag.words);
      spelled.emplace_back();
    }
    auto& names = spelled[index];
    if (std::find(names.begin(), names.end(), use.spelled) == names.end()) {
      names.push_back(use.spelled);
    }
  }
  std::vector<std::string> notes;
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    notes.push_back(Join(spelled[i], ", ") + ": " + reasons[i] + "; ignored");
  }
  return notes;
}

std::string ForeignHelp(const ForeignLauncher& launcher) {
  std::string text = "muster " + launcher.verb + " [FLAGS] " + launcher.program + "\n" +
                     launcher.about + "\n\nHonoured:\n" + HelpOf(launcher, FlagFate::kHonoured) +
                     "\nWithout a meaning here (accepted, and told in one line on stderr):\n" +
                     HelpOf(launcher, FlagFate::kIgnored);
  const std::string refused = HelpOf(launcher, FlagFate::kRefused);
  if (!refused.empty()) text += "\nRefused:\n" + refused;
  return text + "\nExample:\n  " + launcher.example + "\n";
}

Parsed ForeignMistake(const ForeignLauncher& launcher, const std::string& what) {
  const std::string verb = "muster " + launcher.verb;
  return {.command = {},
          .text = verb + ": " + what + "\n" + verb + " --help lists the flags.\n",
          .exit = kExitUser,
          .notes = {}};
}

Result<std::uint32_t> FlagNumber(const FlagUse& use, const std::string& text, std::uint32_t least,
                                 std::uint32_t most) {
  const auto number = ParseUnsigned(text);
  if (number && *number >= least && *number <= most) return static_cast<std::uint32_t>(*number);
  return Status(Code::kInvalid, use.spelled + " takes a number from " + std::to_string(least) +
                                    " to " + std::to_string(most) + "; found '" + text + "'");
}

std::vector<ForeignFlag> OwnFlags() {
  return {{{"--cluster"}, "DIR", FlagFate::kHonoured, "muster's: the cluster, as of `muster run`"},
          {{"--json"},
           "",
           FlagFate::kHonoured,
           "muster's: each line of a rank as a JSON object, then how it ended"},
          {{"--help", "-h"}, "", FlagFate::kHonoured, "this table"}};
}

}  // namespace muster
