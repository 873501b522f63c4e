#include "launcher/cli/limits.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "runtime/base/resources.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::uint64_t kUnlimited = UINT64_MAX;  // RLIM_INFINITY.
constexpr std::uint32_t kNodesMost = 100'000;

std::optional<std::uint64_t> Amount(std::string_view text) {
  if (text == "unlimited") return kUnlimited;
  int shift = 0;
  if (!text.empty()) {
    const char unit = text.back();
    shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
  }
  if (shift > 0) text.remove_suffix(1);
  const auto number = ParseUnsigned(text);
  if (!number || *number > (kUnlimited - 1) >> shift) return std::nullopt;
  return *number << shift;
}

std::string Names() {
  std::vector<std::string> names;
  for (const auto& [name, number] : kResources) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return Join(names, ", ");
}

}  // namespace

Result<ResourceLimit> MakeLimit(std::string_view name, std::string_view value) {
  const auto* const found = std::find_if(kResources.begin(), kResources.end(),
                                         [&](const auto& item) { return item.first == name; });
  if (found == kResources.end()) {
    return Status(Code::kInvalid,
                  "no limit is called '" + std::string(name) + "'; known are " + Names());
  }
  const auto amount = Amount(value);
  if (!amount) {
    return Status(Code::kInvalid, "the limit '" + std::string(name) +
                                      "' takes a number, one with K, M or G, or 'unlimited'; "
                                      "found '" +
                                      std::string(value) + "'");
  }
  return ResourceLimit{.resource = found->second, .soft = *amount, .hard = *amount};
}

Result<ResourceLimit> ParseLimit(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return Status(Code::kInvalid,
                  "takes NAME=VALUE, such as core=unlimited; found '" + std::string(text) + "'");
  }
  return MakeLimit(text.substr(0, equals), text.substr(equals + 1));
}

Result<NodeRange> ParseNodes(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto least = ParseUnsigned(text.substr(0, colon));
  const auto most = colon == std::string_view::npos ? least : ParseUnsigned(text.substr(colon + 1));
  if (!least || !most || *least < 1 || *most > kNodesMost || *least > *most) {
    return Status(Code::kInvalid,
                  "takes a number of nodes 1..100000, or MIN:MAX such as 1:4; "
                  "found '" +
                      std::string(text) + "'");
  }
  return NodeRange{.least = static_cast<std::uint32_t>(*least),
                   .most = static_cast<std::uint32_t>(*most)};
}

const std::map<std::string, Bind>& BindNames() {
  static const std::map<std::string, Bind> kNames = {
      {"auto", Bind::kAuto}, {"none", Bind::kNone}, {"core", Bind::kCore}, {"numa", Bind::kNuma}};
  return kNames;
}

const std::map<std::string, GpuView>& GpuViewNames() {
  static const std::map<std::string, GpuView> kNames = {{"node", GpuView::kNode},
                                                        {"rank", GpuView::kRank}};
  return kNames;
}

}  // namespace muster
