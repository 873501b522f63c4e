#include "runtime/checkpoint/layout.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <string_view>
#include <vector>

#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

constexpr std::string_view kJson = ".json";
constexpr std::string_view kTemporary = ".tmp";

std::string Decimal(char letter, std::uint64_t number, int width) {
  char text[32];
  std::snprintf(text, sizeof text, "%c%0*" PRIu64, letter, width, number);
  return text;
}
std::string GenerationText(std::uint64_t generation) {
  return Decimal('g', generation, 10);
}
std::string StepText(std::uint64_t step) {
  return Decimal('s', step, 12);
}

std::optional<std::uint64_t> ParseDecimal(char letter, const std::string& text) {
  if (text.empty() || text[0] != letter) return std::nullopt;
  return ParseUnsigned(std::string_view(text).substr(1));
}

std::optional<std::string> Without(const std::string& name, std::string_view end) {
  if (!name.ends_with(end)) return std::nullopt;
  return name.substr(0, name.size() - end.size());
}

}  // namespace

Status CheckRunName(const std::string& run) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  const bool good = !run.empty() && run.size() <= 100 && run[0] != '.' && run[0] != '-' &&
                    std::all_of(run.begin(), run.end(), allowed);
  if (good) return {};
  return Status(Code::kInvalid, "run name \"" + run +
                                    "\": 1 to 100 of the characters A-Z a-z 0-9 . _ - are " +
                                    "allowed, and it begins with none of . -");
}

std::string ClaimsFolder(const std::string& run) {
  return run + "/claims";
}
std::string CommitsFolder(const std::string& run) {
  return run + "/commits";
}
std::string DataFolder(const std::string& run) {
  return run + "/data";
}

std::string ClaimName(std::uint64_t generation) {
  return GenerationText(generation) + std::string(kJson);
}

std::string ClaimTemporaryName(std::uint64_t generation, std::uint64_t nonce) {
  return "." + GenerationText(generation) + "-" + NonceText(nonce) + std::string(kTemporary);
}

std::string CommitName(CommitId commit) {
  return GenerationText(commit.generation) + "-" + StepText(commit.step) + std::string(kJson);
}

std::string CommitTemporaryName(const SaveId& save, std::int64_t time_ms) {
  return "." + SaveName(save) + "-" + std::to_string(std::max<std::int64_t>(time_ms, 0)) +
         std::string(kTemporary);
}

std::string SaveName(const SaveId& save) {
  return GenerationText(save.generation) + "-" + StepText(save.step) + "-" + NonceText(save.nonce);
}

std::string ShardName(std::uint32_t node, std::uint32_t nodes) {
  char text[64];
  std::snprintf(text, sizeof text, "shard-%05u-of-%05u.safetensors", node, nodes);
  return text;
}

std::string TemporaryName(const std::string& name) {
  return "." + name + ".tmp";
}

std::string NonceText(std::uint64_t nonce) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, nonce);
  return text;
}

std::optional<std::uint64_t> ParseNonce(const std::string& text) {
  const auto bytes = FromHex(text);
  if (!bytes.has_value() || bytes->size() != 8) return std::nullopt;
  std::uint64_t nonce = 0;
  for (const std::byte byte : *bytes) nonce = nonce << 8U | std::to_integer<std::uint64_t>(byte);
  return nonce;
}

std::optional<std::uint64_t> ParseClaimName(const std::string& name) {
  const auto stem = Without(name, kJson);
  return stem.has_value() ? ParseDecimal('g', *stem) : std::nullopt;
}

std::optional<CommitId> ParseCommitName(const std::string& name) {
  const auto stem = Without(name, kJson);
  if (!stem.has_value()) return std::nullopt;
  const std::vector<std::string> parts = Split(*stem, '-');
  if (parts.size() != 2) return std::nullopt;
  const auto generation = ParseDecimal('g', parts[0]);
  const auto step = ParseDecimal('s', parts[1]);
  if (!generation.has_value() || !step.has_value()) return std::nullopt;
  return CommitId{.generation = *generation, .step = *step};
}

std::optional<SaveId> ParseSaveName(const std::string& name) {
  const std::vector<std::string> parts = Split(name, '-');
  if (parts.size() != 3) return std::nullopt;
  const auto generation = ParseDecimal('g', parts[0]);
  const auto step = ParseDecimal('s', parts[1]);
  const auto nonce = ParseNonce(parts[2]);
  if (!generation.has_value() || !step.has_value() || !nonce.has_value()) return std::nullopt;
  return SaveId{.generation = *generation, .step = *step, .nonce = *nonce};
}

std::optional<SaveId> ParseTemporaryName(const std::string& name) {
  const auto stem = Without(name, kTemporary);
  if (!stem.has_value() || !stem->starts_with('.')) return std::nullopt;
  const std::vector<std::string> parts = Split(stem->substr(1), '-');
  if (parts.size() == 4 && ParseUnsigned(parts[3]).has_value()) {
    return ParseSaveName(stem->substr(1, stem->rfind('-') - 1));
  }
  if (parts.size() != 2) return std::nullopt;
  const auto generation = ParseDecimal('g', parts[0]);
  const auto nonce = ParseNonce(parts[1]);
  if (!generation.has_value() || !nonce.has_value()) return std::nullopt;
  return SaveId{.generation = *generation, .nonce = *nonce};
}

}  // namespace muster::checkpoint
