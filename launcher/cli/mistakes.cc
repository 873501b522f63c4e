#include "launcher/cli/mistakes.h"

#include <algorithm>
#include <tuple>

namespace muster {

Status MistakesStatus(const std::string& file, Mistakes mistakes) {
  CHECK(!mistakes.empty());
  std::stable_sort(mistakes.begin(), mistakes.end(), [](const Mistake& a, const Mistake& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
  std::string text;
  for (const Mistake& mistake : mistakes) {
    if (!text.empty()) text += "\n";
    text += file;
    if (mistake.line > 0) {
      text += ":" + std::to_string(mistake.line) + ":" + std::to_string(mistake.column);
    }
    text += ": " + mistake.text;
  }
  return Status(Code::kInvalid, text);
}

bool IsName(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (text.empty() || text.size() > 63 || !plain(text[0])) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return plain(c) || c == '.' || c == '-' || c == '_'; });
}

}  // namespace muster
