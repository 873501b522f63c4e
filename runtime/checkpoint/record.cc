#include "runtime/checkpoint/record.h"

#include <nlohmann/json.hpp>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using nlohmann::json;

constexpr char kCrcWord[] = "crc32c ";
// Together with the rest less than kRecordMax, also where each letter is escaped.
constexpr std::size_t kMetricsMax = 16;
constexpr std::size_t kMetricNameMax = 24;

std::string Seal(const json& object) {
  const std::string line = object.dump() + "\n";
  return line + kCrcWord + CrcText(Crc32c(line)) + "\n";
}

Result<json> Unseal(const std::string& text) {
  const std::size_t line = text.find('\n');
  if (line == std::string::npos) return Status(Code::kDataLoss, "the record is cut");
  const std::string body = text.substr(0, line + 1);
  if (text.substr(line + 1) != kCrcWord + CrcText(Crc32c(body)) + "\n") {
    return Status(Code::kDataLoss, "the record's CRC does not hold");
  }
  json object = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return Status(Code::kDataLoss, "the record is not JSON");
  return object;
}

json Begin(const std::string& run) {
  return {{"format", "muster"}, {"major", kFormatMajor}, {"minor", kFormatMinor}, {"run", run}};
}

std::uint64_t Nonce(JsonFields& fields) {
  const auto nonce = ParseNonce(fields.Text("nonce"));
  if (!nonce.has_value()) fields.Fail("\"nonce\" is not 16 hexadecimal digits");
  return nonce.value_or(0);
}

}  // namespace

std::string FormatClaim(const ClaimRecord& claim) {
  json object = Begin(claim.run);
  object["generation"] = claim.generation;
  object["nonce"] = NonceText(claim.nonce);
  object["attempt"] = claim.attempt;
  object["time_ms"] = static_cast<std::uint64_t>(claim.time_ms);
  return Seal(object);
}

Result<ClaimRecord> ParseClaim(const std::string& text) {
  const auto object = Unseal(text);
  if (!object.ok()) return object.status();
  JsonFields fields(*object);
  fields.CheckFormat();
  ClaimRecord claim{.run = fields.Text("run"),
                    .generation = fields.Number("generation"),
                    .nonce = Nonce(fields),
                    .attempt = fields.Small("attempt"),
                    .time_ms = static_cast<std::int64_t>(fields.Number("time_ms"))};
  if (!fields.status().ok()) return fields.status();
  return claim;
}

std::map<std::string, double> MetricsOf(const std::string& host_state,
                                        const std::string& metadata) {
  std::map<std::string, double> metrics;
  for (const std::string& text : {metadata, host_state}) {
    const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) continue;
    for (const auto& [name, value] : object.items()) {
      if (metrics.size() == kMetricsMax) return metrics;
      if (!value.is_number() || name.empty() || name.size() > kMetricNameMax) continue;
      metrics.emplace(name, value.get<double>());
    }
  }
  return metrics;
}

std::string FormatCommit(const CommitRecord& commit) {
  json object = Begin(commit.run);
  object["generation"] = commit.save.generation;
  object["step"] = commit.save.step;
  object["nonce"] = NonceText(commit.save.nonce);
  object["manifest_bytes"] = commit.manifest_bytes;
  object["manifest_crc32c"] = commit.manifest_crc;
  object["bytes"] = commit.bytes;
  object["nodes"] = commit.nodes;
  object["parent"] = commit.parent;
  object["time_ms"] = static_cast<std::uint64_t>(commit.time_ms);
  if (!commit.metrics.empty()) object["metrics"] = commit.metrics;
  return Seal(object);
}

Result<CommitRecord> ParseCommit(const std::string& text) {
  const auto object = Unseal(text);
  if (!object.ok()) return object.status();
  JsonFields fields(*object);
  fields.CheckFormat();
  CommitRecord commit{.run = fields.Text("run"),
                      .save = {.generation = fields.Number("generation"),
                               .step = fields.Number("step"),
                               .nonce = Nonce(fields)},
                      .manifest_bytes = fields.Number("manifest_bytes"),
                      .manifest_crc = fields.Small("manifest_crc32c"),
                      .bytes = fields.Number("bytes"),
                      .nodes = fields.Small("nodes"),
                      .parent = fields.Text("parent"),
                      .time_ms = static_cast<std::int64_t>(fields.Number("time_ms"))};
  if (!fields.status().ok()) return fields.status();
  if (const auto metrics = object->find("metrics"); metrics != object->end()) {
    for (const auto& [name, value] : metrics->items()) {
      if (value.is_number()) commit.metrics[name] = value.get<double>();
    }
  }
  return commit;
}

}  // namespace muster::checkpoint
