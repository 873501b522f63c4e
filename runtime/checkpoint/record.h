// The two small files that decide: a claim takes a generation, a commit record makes a checkpoint
// exist.  A line of JSON, then a line with its CRC-32C; less than 4 KiB.
//
// Unknown members are ignored, a newer major version is kUnimplemented, and anything whose CRC does
// not hold is kDataLoss ("torn").  Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"

namespace muster::checkpoint {

inline constexpr std::uint64_t kRecordMax = 4096;

struct ClaimRecord {
  std::string run;
  std::uint64_t generation = 0;
  std::uint64_t nonce = 0;
  std::uint32_t attempt = 0;
  std::int64_t time_ms = 0;  // Since 1970; for people.
  bool operator==(const ClaimRecord&) const = default;
};

struct CommitRecord {
  std::string run;
  SaveId save;  // Names the folder in data/.
  std::uint64_t manifest_bytes = 0;
  std::uint32_t manifest_crc = 0;
  std::uint64_t bytes = 0;  // Of all shards.
  std::uint32_t nodes = 0;  // Shards.
  std::string parent;       // Name of the commit that was newest before, or empty.
  std::int64_t time_ms = 0;
  std::map<std::string, double> metrics;  // What retention may go by, such as loss_ema.
  bool operator==(const CommitRecord&) const = default;
};

std::string FormatClaim(const ClaimRecord& claim);
Result<ClaimRecord> ParseClaim(const std::string& text);

// The numbers among the members of these JSON objects, the metadata's first, as many as
// have room in a record.
std::map<std::string, double> MetricsOf(const std::string& host_state, const std::string& metadata);

std::string FormatCommit(const CommitRecord& commit);
Result<CommitRecord> ParseCommit(const std::string& text);

}  // namespace muster::checkpoint
