#include "runtime/base/progress_points.h"

#include <array>
#include <charconv>
#include <optional>

#include "runtime/base/text.h"

namespace muster {
namespace {

std::string Shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end.ptr};
}

template <typename T>
bool Parse(const std::string& word, T& value) {
  const auto end = std::from_chars(word.data(), word.data() + word.size(), value);
  return end.ec == std::errc() && end.ptr == word.data() + word.size();
}

std::optional<ProgressPoint> PointOf(const std::string& line) {
  const std::vector<std::string> words = Split(line, ' ');
  ProgressPoint point;
  if (words.size() != 4 || !Parse(words[0], point.step) || !Parse(words[1], point.loss) ||
      !Parse(words[2], point.tokens) || !Parse(words[3], point.at_ms)) {
    return std::nullopt;
  }
  return point;
}

}  // namespace

std::string ProgressLine(const ProgressPoint& point) {
  return std::to_string(point.step) + " " + Shortest(point.loss) + " " +
         std::to_string(point.tokens) + " " + std::to_string(point.at_ms) + "\n";
}

std::vector<ProgressPoint> ReadProgressLines(std::string_view text) {
  std::vector<ProgressPoint> points;
  // What follows the last end of a line is still being written.
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    if (const auto point = PointOf(std::string(text.substr(0, end)))) points.push_back(*point);
    text.remove_prefix(end + 1);
  }
  return points;
}

}  // namespace muster
