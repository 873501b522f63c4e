#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "tests/rules/law.h"

namespace muster::rules {
namespace {

struct Command {
  std::string name;
  std::vector<std::string> words;
  std::size_t line = 0;
};

// NAME(WORD WORD ...), over lines, without comments and quotes; inner parentheses only separate.
std::vector<Command> Parse(const std::string& text) {
  std::vector<Command> commands;
  std::string word;
  std::size_t line = 1;
  int depth = 0;
  bool comment = false;
  const auto end_word = [&] {
    if (!word.empty() && depth > 0) commands.back().words.push_back(word);
    word.clear();
  };
  for (const char c : text) {
    if (c == '\n') ++line;
    if (comment) {
      comment = c != '\n';
    } else if (c == '#') {
      end_word();
      comment = true;
    } else if (c == '(') {
      if (depth == 0) commands.push_back({word, {}, line});
      if (depth == 0) word.clear();
      end_word();
      ++depth;
    } else if (c == ')') {
      end_word();
      --depth;
    } else if (c == '"' || std::isspace(static_cast<unsigned char>(c)) != 0) {
      end_word();
    } else {
      word += c;
    }
  }
  return commands;
}

struct Target {
  std::string name, folder, file;
  std::size_t line = 0;
  std::vector<std::string> sources;
  std::vector<std::string> links;

  bool IsCore() const {
    return !sources.empty() && std::none_of(sources.begin(), sources.end(), IsRim);
  }
};

bool Makes(const std::string& command) {
  return command == "muster_library" || command == "muster_test" || command == "add_library" ||
         command == "add_executable" || command == "muster_program";
}

bool IsKeyword(const std::string& word) {
  return std::all_of(word.begin(), word.end(), [](char c) {
    return std::isupper(static_cast<unsigned char>(c)) != 0 || c == '_';
  });
}

class Build {
 public:
  explicit Build(const std::vector<File>& tree) {
    for (const File& file : tree) {
      if (!file.path.ends_with("CMakeLists.txt")) continue;
      for (const Command& command : Parse(file.text)) Take(file.path, command);
    }
  }

  const std::map<std::string, Target>& targets() const { return targets_; }
  bool Names(const std::string& source) const { return named_.contains(source); }

 private:
  void Take(const std::string& path, const Command& command) {
    const std::string folder = FolderOf(path);
    for (const std::string& word : command.words) {
      static const std::string kRoot = "${PROJECT_SOURCE_DIR}/";
      if (word.starts_with(kRoot)) {
        named_.insert(word.substr(kRoot.size()));
      } else {
        named_.insert(folder.empty() ? word : folder + "/" + word);
      }
    }
    if (command.words.empty()) return;
    const std::string& name = command.words[0];
    if (Makes(command.name)) {
      targets_[name] = {name, folder, path, command.line, {}, {}};
    }
    if (!targets_.contains(name)) return;
    Target& target = targets_[name];
    bool links = command.name == "target_link_libraries";
    for (std::size_t i = 1; i < command.words.size(); ++i) {
      const std::string& word = command.words[i];
      if (IsKeyword(word) && command.name != "target_link_libraries") {
        links = word == "DEPENDS";
      } else if (links && !IsKeyword(word)) {
        target.links.push_back(word);
      } else if (IsSource(word)) {
        target.sources.push_back(word);
      }
    }
  }

  std::map<std::string, Target> targets_;
  std::set<std::string> named_;
};

void JudgeLink(const Build& build, const Target& target, const std::string& link, Judgement* out) {
  const auto say = [&](const std::string& what) {
    out->breaches.push_back({target.file, target.line, "cmake", target.name + " " + what});
  };
  const auto found = build.targets().find(link);
  if (found == build.targets().end()) {
    static const std::set<std::string> kPure = {"muster_options", "isal", "CLI11::CLI11",
                                                "nlohmann_json::nlohmann_json"};
    if (target.IsCore() && !kPure.contains(link)) {
      say("decides, so it may not link " + link + ", which touches the world");
    }
    return;
  }
  const Target& other = found->second;
  if (other.folder.empty() || other.folder == target.folder) {
    // muster_options, or the rim of the same folder.
  } else if (other.folder.starts_with("proto")) {
    if (!target.folder.starts_with("launcher")) say("may not link proto: ranks never link gRPC");
  } else {
    const std::vector<std::string> reach = Reach(target.folder);
    if (std::find(reach.begin(), reach.end(), other.folder) == reach.end()) {
      say("links " + link + ", but " + target.folder + " has no arrow to " + other.folder);
    }
  }
  if (target.IsCore() && !other.sources.empty() && !other.IsCore()) {
    say("decides, so it may not link the rim " + link);
  }
}

}  // namespace

void JudgeCmake(const std::vector<File>& tree, Judgement* out) {
  const Build build(tree);
  for (const auto& [name, target] : build.targets()) {
    if (IsTest(target.file) || target.folder.empty()) continue;
    if (name.ends_with("_core") && !target.sources.empty() && !target.IsCore()) {
      out->breaches.push_back({target.file, target.line, "cmake", name + " holds a rim file"});
    }
    for (const std::string& link : target.links) JudgeLink(build, target, link, out);
  }
  for (const File& file : tree) {
    if (!IsSource(file.path) || file.path.ends_with(".h")) continue;
    if (file.path.starts_with("tests/integration/scripts/")) continue;  // By users.
    if (!build.Names(file.path)) {
      out->breaches.push_back({file.path, 0, "cmake", "no CMakeLists.txt builds this file"});
    }
  }
}

}  // namespace muster::rules
