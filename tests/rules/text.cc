#include <algorithm>
#include <cctype>
#include <set>

#include "tests/rules/law.h"

namespace muster::rules {
namespace {

bool EndsWithAny(const std::string& text, const std::vector<std::string>& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const std::string& ending) { return text.ends_with(ending); });
}

std::string Stem(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.substr(0, name.find('.'));
}

bool IsIdentifier(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// One pass over C or C++ that knows in what it is.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), out_(text) {}

  std::string Run() && {
    while (at_ < text_.size()) Next();
    return std::move(out_);
  }

 private:
  bool Sees(std::string_view word) const { return text_.substr(at_).starts_with(word); }

  void Next() {
    if (Sees("//")) {
      BlankUntil("\n", 0);
    } else if (Sees("/*")) {
      BlankUntil("*/", 2);
    } else if (Sees("R\"") && (at_ == 0 || !IsIdentifier(text_[at_ - 1]))) {
      const std::size_t open = text_.find('(', at_);
      const std::string_view delimiter = text_.substr(at_ + 2, open - at_ - 2);
      BlankUntil(")" + std::string(delimiter) + "\"", 1);
    } else if (Sees("\"")) {
      BlankQuoted('"');
    } else if (Sees("'") && (at_ == 0 || !IsIdentifier(text_[at_ - 1]))) {
      BlankQuoted('\'');  // Not the separator of 1'000.
    } else {
      ++at_;
    }
  }

  void BlankUntil(std::string_view end, std::size_t extra) {
    std::size_t stop = text_.find(end, at_ + 1);
    stop = stop == std::string_view::npos ? text_.size() : stop + (extra == 0 ? 0 : end.size());
    Blank(at_, stop);
    at_ = stop;
  }

  void BlankQuoted(char quote) {
    std::size_t stop = at_ + 1;
    while (stop < text_.size() && text_[stop] != quote && text_[stop] != '\n') {
      stop += text_[stop] == '\\' ? 2 : 1;
    }
    Blank(at_ + 1, std::min(stop, text_.size()));
    at_ = stop + 1;
  }

  void Blank(std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      if (out_[i] != '\n') out_[i] = ' ';
    }
  }

  std::string_view text_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string LastWord(const std::string& path) {
  const std::string stem = Stem(path);
  return stem.substr(stem.rfind('_') + 1);
}

bool IsSource(const std::string& path) {
  return EndsWithAny(path, {".h", ".cc", ".c", ".cu", ".cpp", ".cxx", ".hpp", ".hh", ".inl"});
}

bool IsRim(const std::string& path) {
  const auto& endings = RimEndings();
  return std::find(endings.begin(), endings.end(), LastWord(path)) != endings.end();
}

bool IsTest(const std::string& path) {
  return path.starts_with("tests/");
}

std::string TableName(const std::string& folder) {
  if (Arrows().contains(folder)) return folder;
  const std::string wild = FolderOf(folder) + "/*";
  return Arrows().contains(wild) ? wild : "";
}

std::vector<std::string> Reach(const std::string& folder) {
  const std::string start = TableName(folder);
  if (start.empty()) return {};
  std::set<std::string> seen = {folder};
  std::vector<std::string> todo = Arrows().at(start);
  while (!todo.empty()) {
    const std::string next = todo.back();
    todo.pop_back();
    if (!seen.insert(next).second) continue;
    const auto& more = Arrows().at(next);
    todo.insert(todo.end(), more.begin(), more.end());
  }
  return {seen.begin(), seen.end()};
}

std::string CodeOnly(std::string_view text) {
  return Blanker(text).Run();
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace muster::rules
