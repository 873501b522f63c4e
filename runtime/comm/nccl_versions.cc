#include "runtime/comm/nccl_versions.h"

#include <algorithm>

namespace muster {
namespace {

const std::string kWhatToDo =
    "install NVIDIA's libnccl2 of that range, or name another file in MUSTER_NCCL_LIBRARY";

std::string Range() {
  return NcclVersionText(kNcclOldest) + " to 2.30";
}

Code CodeOf(NcclResult result) {
  switch (result) {
    case kNcclSuccess:
      return Code::kOk;
    case kNcclInvalidArgument:
    case kNcclInvalidUsage:
      return Code::kInvalid;
    case kNcclRemoteError:
    case kNcclSystemError:
      return Code::kUnavailable;
    case kNcclInProgress:
      return Code::kDeadline;
    default:
      return Code::kInternal;
  }
}

}  // namespace

std::string NcclVersionText(int version) {
  // Up to 2.8 it counted in thousands.
  const int major = version < 10'000 ? version / 1000 : version / 10'000;
  const int minor = version < 10'000 ? version / 100 % 10 : version / 100 % 100;
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(version % 100);
}

Result<NcclFeatures> NegotiateNccl(int version, const std::vector<NcclSymbol>& symbols,
                                   const std::string& path) {
  const std::string found = "NCCL " + NcclVersionText(version) + " (" + path + ")";
  if (version < kNcclOldest) {
    return Status(Code::kUnavailable,
                  "found " + found + ", which is too old: " + Range() + " will do; " + kWhatToDo);
  }
  NcclFeatures features{.version = version};
  if (version > kNcclNewest) {
    features.notes.push_back(found + " is newer than what muster knows (" + Range() + ")");
  }
  std::string needed;
  std::vector<std::string> lost;
  for (const NcclSymbol& symbol : symbols) {
    if (symbol.found) continue;
    if (symbol.purpose.empty()) {
      needed += (needed.empty() ? "" : ", ") + symbol.name;
    } else if (std::find(lost.begin(), lost.end(), symbol.purpose) == lost.end()) {
      lost.push_back(symbol.purpose);
      features.notes.push_back(found + " has no " + symbol.name + " (new in " +
                               NcclVersionText(symbol.since) + "): no " + symbol.purpose);
    }
  }
  if (!needed.empty()) {
    return Status(Code::kUnavailable, "found " + found + ", which lacks " + needed +
                                          "; every NCCL from " + Range() +
                                          " has them: " + kWhatToDo);
  }
  const auto has = [&](const char* purpose) {
    return std::find(lost.begin(), lost.end(), purpose) == lost.end();
  };
  features.own_memory = has("memory from NCCL's own allocator");
  features.symmetric_memory = features.own_memory && has("symmetric memory");
  features.shrink = has("shrink without a new id");
  features.revoke = has("a stop that leaves the communicator to shrink");
  return features;
}

std::string NcclResultName(NcclResult result) {
  constexpr const char* kNames[] = {
      "ncclSuccess",         "ncclUnhandledCudaError", "ncclSystemError", "ncclInternalError",
      "ncclInvalidArgument", "ncclInvalidUsage",       "ncclRemoteError", "ncclInProgress"};
  const auto number = static_cast<int>(result);
  if (number < 0 || number > kNcclInProgress) return "result " + std::to_string(number);
  return kNames[number];
}

bool NcclFatal(NcclResult result) {
  return result != kNcclSuccess && result != kNcclInProgress && result != kNcclInvalidArgument;
}

Status NcclStatus(const std::string& doing, NcclResult result, const std::string& text) {
  if (result == kNcclSuccess) return {};
  return Status(CodeOf(result),
                doing + ": " + NcclResultName(result) + (text.empty() ? "" : " (" + text + ")"));
}

}  // namespace muster
