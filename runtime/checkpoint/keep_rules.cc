#include "runtime/checkpoint/keep_rules.h"

#include <algorithm>
#include <optional>
#include <set>

#include "runtime/base/check.h"
#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint64_t kMinuteMs = 60'000;
constexpr std::uint64_t kPeriodMax = 100ULL * 365 * 24 * 60;  // In minutes, as it is written.

Status Wrong(const std::string& part) {
  return Status(Code::kInvalid, "'" + part +
                                    "' is no rule for keeping checkpoints; known are last=N, "
                                    "every=6h (or m, d), best=N, metric=NAME, better=lower or "
                                    "higher, with commas between");
}

std::optional<std::uint64_t> ParsePeriod(const std::string& text) {
  const std::map<char, std::uint64_t> units = {{'m', 1}, {'h', 60}, {'d', 24 * 60}};
  if (text.empty() || !units.contains(text.back())) return std::nullopt;
  const auto number = ParseUnsigned(text.substr(0, text.size() - 1));
  const std::uint64_t minutes = units.at(text.back());
  if (!number || *number == 0 || *number > kPeriodMax / minutes) return std::nullopt;
  return *number * minutes;
}

std::optional<std::uint32_t> ParseCount(const std::string& text) {
  const auto number = ParseUnsigned(text);
  if (!number || *number == 0 || *number > 1'000'000) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

bool SetRule(KeepRules& rules, const std::string& key, const std::string& value) {
  if (key == "last" || key == "best") {
    const auto number = ParseCount(value);
    if (number) (key == "last" ? rules.last : rules.best) = *number;
    return number.has_value();
  }
  if (key == "every") {
    const auto minutes = ParsePeriod(value);
    rules.every_min = minutes.value_or(0);
    return minutes.has_value();
  }
  if (key == "metric") {
    rules.metric = value;
    return !value.empty();
  }
  rules.higher = value == "higher";
  return key == "better" && (value == "higher" || value == "lower");
}

using Reasons = std::vector<std::string>;

void Keep(std::string& reason, const std::string& why) {
  reason += (reason.empty() ? "" : ", ") + why;
}

// The first commit of each period that has one, as they were made.
void KeepPeriods(std::span<const KeepCandidate> commits, const KeepRules& rules, Reasons& reasons) {
  std::set<std::uint64_t> seen;
  for (std::size_t i = commits.size(); i-- > 0;) {
    if (!commits[i].whole) continue;
    const auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(commits[i].time_ms, 0));
    if (seen.insert(ms / (rules.every_min * kMinuteMs)).second) Keep(reasons[i], "periodic");
  }
}

void KeepBest(std::span<const KeepCandidate> commits, const KeepRules& rules, Reasons& reasons) {
  std::vector<std::pair<double, std::size_t>> ranked;
  for (std::size_t i = 0; i < commits.size(); ++i) {
    const auto metric = commits[i].metrics.find(rules.metric);
    if (!commits[i].whole || metric == commits[i].metrics.end()) continue;
    ranked.emplace_back(rules.higher ? -metric->second : metric->second, i);
  }
  std::sort(ranked.begin(), ranked.end());
  ranked.resize(std::min<std::size_t>(ranked.size(), rules.best));
  for (const auto& [value, i] : ranked) Keep(reasons[i], "best " + rules.metric);
}

// An attempt that did not load what there was begins anew below it: the furthest that the run has
// come stays until that is passed.
void KeepFurthest(std::span<const KeepCandidate> commits, Reasons& reasons) {
  std::optional<std::size_t> newest, furthest;
  for (std::size_t i = 0; i < commits.size(); ++i) {
    if (!commits[i].whole) continue;
    if (!newest) newest = i;
    if (!furthest || commits[i].id.step > commits[*furthest].id.step) furthest = i;
  }
  if (furthest != newest) Keep(reasons[*furthest], "further than the newest");
}

}  // namespace

Result<KeepRules> ParseKeepRules(const std::string& text, KeepRules rules) {
  if (text.empty()) return rules;
  for (const std::string& part : Split(text, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) return Wrong(part);
    if (!SetRule(rules, part.substr(0, equals), part.substr(equals + 1))) return Wrong(part);
  }
  if ((rules.best > 0) != !rules.metric.empty()) {
    return Status(Code::kInvalid,
                  "best=N and metric=NAME belong together: the N checkpoints with the best NAME, a "
                  "number in the host state or metadata of each, such as loss_ema");
  }
  return rules;
}

std::string FormatKeepAlso(const KeepRules& rules) {
  std::vector<std::string> parts;
  if (rules.every_min > 0) parts.push_back("every=" + std::to_string(rules.every_min) + "m");
  if (rules.best > 0) {
    parts.push_back("best=" + std::to_string(rules.best));
    parts.push_back("metric=" + rules.metric);
    parts.emplace_back(rules.higher ? "better=higher" : "better=lower");
  }
  return Join(parts, ",");
}

std::vector<std::string> WhyKept(std::span<const KeepCandidate> commits, const KeepRules& rules) {
  CHECK(rules.last > 0);
  Reasons reasons(commits.size());
  const std::string last =
      rules.last == kKeepAll ? "no rule lets it go" : "last " + std::to_string(rules.last);
  std::uint32_t whole = 0;
  for (std::size_t i = 0; i < commits.size() && whole < rules.last; ++i) {
    Keep(reasons[i], commits[i].whole ? last : "cannot be read");
    if (commits[i].whole) ++whole;
  }
  KeepFurthest(commits, reasons);
  if (rules.every_min > 0) KeepPeriods(commits, rules, reasons);
  if (rules.best > 0) KeepBest(commits, rules, reasons);
  for (std::size_t i = 0; i < commits.size(); ++i) {
    if (commits[i].pinned) Keep(reasons[i], "pinned");
  }
  return reasons;
}

}  // namespace muster::checkpoint
