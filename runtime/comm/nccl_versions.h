// Which NCCL will do, what a version of it lacks, and what its results mean as a Status.
//
// Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/comm/nccl_api.h"

namespace muster {

// The range that this runtime was written for.  A newer library is taken, with a note.
inline constexpr int kNcclOldest = 21800;
inline constexpr int kNcclNewest = 23099;

// "2.28.9" for 22809, "2.8.4" for 2804.
std::string NcclVersionText(int version);

// What was found, by name.
struct NcclSymbol {
  std::string name;
  int since = 0;
  std::string purpose;  // Empty: it is needed.
  bool found = false;
  bool operator==(const NcclSymbol&) const = default;
};

// What a library can do beside what is needed.
struct NcclFeatures {
  int version = 0;
  bool own_memory = false;        // ncclMemAlloc.
  bool symmetric_memory = false;  // Windows, over memory of its own.
  bool shrink = false;
  bool revoke = false;
  std::vector<std::string> notes;  // Sentences for a log: what is missing, and what that means.
  bool operator==(const NcclFeatures&) const = default;
};

// kUnavailable: too old, or a needed function is missing; the message says what was found, what is
// allowed and what to do.  `path`: where the library lies.
Result<NcclFeatures> NegotiateNccl(int version, const std::vector<NcclSymbol>& symbols,
                                   const std::string& path);

// "ncclRemoteError".
std::string NcclResultName(NcclResult result);
// Whether the communicator has no way back: all but success, progress and a bad argument.
bool NcclFatal(NcclResult result);
// Ok for success.  `text`: the library's own words, may be empty.
Status NcclStatus(const std::string& doing, NcclResult result, const std::string& text);

}  // namespace muster
