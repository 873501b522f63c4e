#include "launcher/cli/curve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

namespace muster {
namespace {

constexpr std::size_t kColumns = 60;
constexpr std::size_t kRows = 8;
constexpr std::size_t kMargin = 10;  // Fits "-1.234e+10".

std::string Short(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

// The mean of what lies in each column; none where nothing does.
std::vector<std::optional<double>> Columns(const std::vector<ProgressPoint>& points) {
  const std::uint64_t first = points.front().step;
  const auto span = static_cast<double>(points.back().step - first) + 1;
  std::vector<double> means(kColumns), counts(kColumns);
  for (const ProgressPoint& point : points) {
    const auto at = static_cast<double>(point.step - first) / span * kColumns;
    const auto column = std::min(static_cast<std::size_t>(at), kColumns - 1);
    counts[column] += 1;
    means[column] += (point.loss - means[column]) / counts[column];
  }
  std::vector<std::optional<double>> columns(kColumns);
  for (std::size_t i = 0; i < kColumns; ++i) {
    if (counts[i] > 0) columns[i] = means[i];
  }
  return columns;
}

std::string Padded(const std::string& text) {
  return std::string(kMargin - std::min(kMargin, text.size()), ' ') + text;
}

std::string Plot(const std::vector<std::optional<double>>& columns) {
  double low = std::numeric_limits<double>::max(), high = std::numeric_limits<double>::lowest();
  for (const auto& column : columns) {
    if (column) low = std::min(low, *column);
    if (column) high = std::max(high, *column);
  }
  std::vector<std::string> rows(high > low ? kRows : 1, std::string(kColumns, ' '));
  for (std::size_t i = 0; i < kColumns; ++i) {
    if (!columns[i]) continue;
    // Halves: the distance may be more than a double holds.
    const double part = high > low ? (high / 2 - *columns[i] / 2) / (high / 2 - low / 2) : 0;
    const auto row = static_cast<std::size_t>(std::lround(part * (kRows - 1)));
    rows[std::min(row, rows.size() - 1)][i] = '*';
  }
  std::string text;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string label = row == 0                 ? Short(high)
                              : row == 1               ? "loss"
                              : row + 1 == rows.size() ? Short(low)
                                                       : "";
    const std::string& line = rows[row];
    text += Padded(label) + " |" + line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text + std::string(kMargin + 1, ' ') + "+" + std::string(kColumns, '-') + "\n";
}

// Step numbers below the two ends of the axis.
std::string Axis(std::uint64_t first, std::uint64_t last) {
  const std::string from = "step " + std::to_string(first), to = std::to_string(last);
  const std::size_t used = from.size() + to.size();
  const std::string gap(used < kColumns ? kColumns - used : 1, ' ');
  return std::string(kMargin + 2, ' ') + from + (first == last ? "" : gap + to) + "\n";
}

}  // namespace

std::vector<CurvePoint> CurveOf(const std::map<AttemptNumber, std::string>& files) {
  std::vector<CurvePoint> curve;
  std::uint64_t done_again = std::numeric_limits<std::uint64_t>::max();
  for (auto file = files.rbegin(); file != files.rend(); ++file) {
    std::vector<ProgressPoint> points = ReadProgressLines(file->second);
    // Within an attempt a loop may have gone back, too.
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
      if (point->step >= done_again) continue;
      done_again = point->step;
      curve.push_back({.attempt = file->first, .point = *point});
    }
  }
  std::reverse(curve.begin(), curve.end());
  return curve;
}

std::string DrawCurve(const std::vector<CurvePoint>& curve) {
  std::vector<ProgressPoint> points;
  const ProgressPoint* broken = nullptr;  // Since when the loss is no number.
  for (const CurvePoint& item : curve) {
    const bool number = std::isfinite(item.point.loss);
    if (number) points.push_back(item.point);
    if (number || points.empty()) {
      broken = nullptr;
    } else if (broken == nullptr) {
      broken = &item.point;
    }
  }
  if (points.empty()) return "";
  std::string text = Plot(Columns(points)) + Axis(points.front().step, points.back().step);
  if (broken != nullptr) {
    text += "the loss is no finite number since step " + std::to_string(broken->step) + "\n";
  }
  return text;
}

}  // namespace muster
