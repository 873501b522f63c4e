#include <algorithm>
#include <cctype>
#include <set>

#include "tests/rules/law.h"

namespace muster::rules {
namespace {

constexpr std::size_t kLineMax = 100;
constexpr std::size_t kHeaderMax = 200;
constexpr std::size_t kSourceMax = 400;
constexpr std::size_t kTestAim = 600;
constexpr std::size_t kTestMax = 800;

bool IsIdentifier(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Whether `word` stands in `line` and is no part of a longer name.
bool HasWord(const std::string& line, const std::string& word) {
  for (std::size_t at = line.find(word); at != std::string::npos; at = line.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool left = at == 0 || !IsIdentifier(line[at - 1]) || !IsIdentifier(word.front());
    const bool right = end == line.size() || !IsIdentifier(line[end]) || !IsIdentifier(word.back());
    if (left && right) return true;
  }
  return false;
}

bool StartsWithAny(const std::string& text, const std::vector<std::string>& starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](const std::string& start) { return text.starts_with(start); });
}

// Characters, not bytes: a line of a table may hold an arrow.
std::size_t Width(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

class SourceJudge {
 public:
  SourceJudge(const File& file, Judgement* out)
      : file_(file),
        folder_(FolderOf(file.path)),
        core_(!IsTest(file.path) && !IsRim(file.path)),
        lines_(Lines(file.text)),
        code_(Lines(CodeOnly(file.text))),
        out_(out) {}

  void Run() {
    JudgePlace();
    JudgeName();
    JudgeSize();
    if (file_.path.ends_with(".h")) JudgeHeader();
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      line_ = i + 1;
      JudgeLine(lines_[i]);
      JudgeCode(code_[i]);
      if (code_[i].starts_with("#include")) JudgeInclude(lines_[i]);
    }
  }

 private:
  void Say(const std::string& rule, const std::string& what) {
    out_->breaches.push_back({file_.path, line_, rule, what});
  }

  void JudgePlace() {
    if (IsTest(file_.path)) {
      static const std::set<std::string> kKinds = {"unit",  "sim",   "fakes", "integration",
                                                   "rules", "bench", "fuzz",  "soak"};
      const std::string rest = file_.path.substr(std::string("tests/").size());
      if (!kKinds.contains(rest.substr(0, rest.find('/')))) {
        Say("arrow",
            "no such kind of test; there are unit, sim, fakes, integration, rules, "
            "bench, fuzz and soak");
      }
    } else if (TableName(folder_).empty()) {
      Say("arrow", "the folder '" + folder_ + "' is not in the table of arrows (tables.cc)");
    } else if (folder_ == "launcher" && file_.path != "launcher/main.cc") {
      Say("arrow", "launcher/ itself holds main.cc only");
    }
  }

  void JudgeName() {
    const std::string name = file_.path.substr(file_.path.rfind('/') + 1);
    const bool snake = std::all_of(name.begin(), name.end(), [](char c) {
      return IsIdentifier(c) ? std::isupper(static_cast<unsigned char>(c)) == 0 : c == '.';
    });
    if (!snake) Say("name", "file names are snake_case");
    const std::string ending = name.substr(std::min(name.find('.'), name.size()));
    if (ending != ".h" && ending != ".cc" && ending != ".c" && ending != ".cu") {
      Say("name", "headers end in .h, sources in .cc (C in .c, kernels in .cu), not " + ending);
    }
  }

  void JudgeSize() {
    const std::size_t n = lines_.size();
    const bool test = IsTest(file_.path);
    const std::size_t most =
        test ? kTestMax : (file_.path.ends_with(".h") ? kHeaderMax : kSourceMax);
    if (n > most) {
      Say("size",
          std::to_string(n) + " lines, at most " + std::to_string(most) + ": one idea a file");
    } else if (test && n > kTestAim) {
      out_->notes.push_back(file_.path + ": " + std::to_string(n) + " lines; aim at " +
                            std::to_string(kTestAim));
    }
  }

  void JudgeHeader() {
    line_ = 1;
    if (lines_.empty() || !lines_[0].starts_with("//")) {
      Say("name", "the first line of a header says in one sentence what the file is");
    }
    if (std::find(lines_.begin(), lines_.end(), "#pragma once") == lines_.end()) {
      Say("name", "#pragma once is missing");
    }
    line_ = 0;
  }

  void JudgeLine(const std::string& line) {
    if (Width(line) > kLineMax) Say("size", "a line longer than " + std::to_string(kLineMax));
    if (file_.path.starts_with("tests/rules/")) return;  // It has to name what it forbids.
    for (const char* word : {"FIXME", "XXX", "HACK"}) {
      if (HasWord(line, word)) Say("ban", std::string(word) + ": open an issue, then TODO(#n)");
    }
    if (HasWord(line, "TODO")) {
      const std::size_t at = line.find("TODO");
      const bool numbered = line.compare(at + 4, 2, "(#") == 0 && at + 6 < line.size() &&
                            std::isdigit(static_cast<unsigned char>(line[at + 6])) != 0;
      if (!numbered) Say("ban", "TODO without the number of its issue: TODO(#12)");
    }
    if (const std::size_t at = line.find("NOLINT"); at != std::string::npos) {
      if (line.find(": ", at) == std::string::npos)
        Say("ban", "NOLINT without a reason: NOLINT: why");
    }
  }

  void JudgeCode(const std::string& code) {
    for (const Ban& ban : Bans()) {
      if (!HasWord(code, ban.text) || (ban.core_only && !core_)) continue;
      if (StartsWithAny(file_.path, ban.where)) continue;
      Say("ban", ban.text + (ban.core_only ? " in a core file" : "") + "; use " + ban.instead);
    }
    for (const char* suffix : {"Manager", "Handler", "Helper", "Impl", "Util", "Utils"}) {
      JudgeType(code, suffix);
    }
  }

  void JudgeType(const std::string& code, const std::string& suffix) {
    for (const char* word : {"class ", "struct "}) {
      const std::size_t at = code.find(word);
      if (at == std::string::npos) continue;
      std::size_t begin = at + std::string(word).size();
      std::size_t end = begin;
      while (end < code.size() && IsIdentifier(code[end])) ++end;
      const std::string type = code.substr(begin, end - begin);
      // The PMIx helper is a word of the design.
      if (type.ends_with(suffix) && type != "PmixHelper") {
        Say("name", type + " says nothing; name what it does");
      }
    }
  }

  void JudgeInclude(const std::string& line) {
    const std::size_t open = line.find_first_of("\"<");
    if (open == std::string::npos) return;
    const std::size_t close = line.find_first_of("\">", open + 1);
    const std::string target = line.substr(open, close - open + 1);
    const std::string name = line.substr(open + 1, close - open - 1);
    const bool generated = name.ends_with(".pb.h");
    if (target.front() == '"' && !generated) JudgeArrow(name);
    if (IsTest(file_.path)) return;
    if (generated && !folder_.starts_with("launcher/")) {
      Say("arrow", name + ": only launcher/ speaks proto; ranks never link gRPC");
    }
    JudgeWorld(target, generated);
  }

  void JudgeArrow(const std::string& name) {
    if (!StartsWithAny(name, {"runtime/", "launcher/", "examples/", "tests/"})) {
      Say("arrow", name + ": includes are named from the root of the repository");
      return;
    }
    if (IsTest(file_.path)) return;
    const std::vector<std::string> reach = Reach(folder_);
    if (std::find(reach.begin(), reach.end(), FolderOf(name)) == reach.end()) {
      Say("arrow", folder_ + " may not include " + name);
    }
    if (core_ && (IsRim(name) || name == "runtime/base/mutex.h")) {
      Say("world", "a core file may not include the rim's " + name);
    }
  }

  void JudgeWorld(const std::string& target, bool generated) {
    bool known = target.front() == '"' && !generated;
    for (const World& world : Worlds()) {
      const bool is = world.header.front() == '<' ? target.starts_with(world.header)
                                                  : target.find(world.header) != std::string::npos;
      if (!is) continue;
      known = true;
      const std::string word = LastWord(file_.path);
      if (std::find(world.endings.begin(), world.endings.end(), word) == world.endings.end()) {
        std::string allowed;
        for (const std::string& ending : world.endings) allowed += " *_" + ending;
        Say("world", target + " touches the world; it belongs in:" + allowed);
      }
    }
    if (!known && !StartsWithAny(target, PureHeaders())) {
      Say("world", target + " is in no table; add it to Worlds or PureHeaders (tables.cc)");
    }
  }

  const File& file_;
  std::string folder_;
  bool core_;
  std::vector<std::string> lines_;
  std::vector<std::string> code_;
  Judgement* out_;
  std::size_t line_ = 0;
};

}  // namespace

void JudgeSource(const File& file, Judgement* out) {
  SourceJudge(file, out).Run();
}

void JudgeProto(const File& file, Judgement* out) {
  static const std::vector<std::string> kCodes = {"INVALID_ARGUMENT",
                                                  "NOT_FOUND",
                                                  "ALREADY_EXISTS",
                                                  "UNAVAILABLE",
                                                  "DEADLINE_EXCEEDED",
                                                  "ABORTED",
                                                  "INTERNAL",
                                                  "PERMISSION_DENIED",
                                                  "UNAUTHENTICATED",
                                                  "RESOURCE_EXHAUSTED",
                                                  "DATA_LOSS",
                                                  "CANCELLED",
                                                  "FAILED_PRECONDITION",
                                                  "UNIMPLEMENTED",
                                                  "OUT_OF_RANGE"};
  const std::vector<std::string> lines = Lines(file.text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t at = lines[i].find_first_not_of(' ');
    if (at == std::string::npos || lines[i].compare(at, 4, "rpc ") != 0) continue;
    std::string comment;
    for (std::size_t j = i; j > 0 && lines[j - 1].find("//") != std::string::npos; --j) {
      comment += lines[j - 1];
    }
    const bool lists = std::any_of(kCodes.begin(), kCodes.end(),
                                   [&](const std::string& code) { return HasWord(comment, code); });
    if (!lists) {
      out->breaches.push_back(
          {file.path, i + 1, "proto", "an rpc lists its status codes above it"});
    }
  }
}

Judgement Judge(const std::vector<File>& tree, const std::vector<Pardon>& pardons) {
  Judgement all;
  for (const File& file : tree) {
    if (IsSource(file.path)) {
      ++all.sources;
      JudgeSource(file, &all);
    }
    if (file.path.ends_with(".proto")) JudgeProto(file, &all);
  }
  JudgeCmake(tree, &all);
  if (all.sources == 0) {
    all.breaches.push_back({".", 0, "walk", "no sources found: an empty walk proves nothing"});
  }

  Judgement left;
  std::set<const Pardon*> used;
  for (const Breach& breach : all.breaches) {
    const auto pardon = std::find_if(pardons.begin(), pardons.end(), [&](const Pardon& p) {
      return p.path == breach.path && p.rule == breach.rule &&
             breach.what.find(p.about) != std::string::npos;
    });
    if (pardon == pardons.end()) {
      left.breaches.push_back(breach);
    } else {
      used.insert(&*pardon);
    }
  }
  for (const Pardon& pardon : pardons) {
    if (!used.contains(&pardon)) {
      left.breaches.push_back({pardon.path, 0, pardon.rule,
                               "the pardon for '" + pardon.about + "' pardons nothing any more"});
    }
  }
  left.notes = all.notes;
  left.sources = all.sources;
  return left;
}

}  // namespace muster::rules
