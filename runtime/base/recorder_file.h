// Where a rank's flight recorder (runtime/comm/recorder.h) lies: in memory that its job daemon
// keeps, and, once the daemon wrote it down, in a file beside the rank's logs.  Names only.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/orders.h"

namespace muster {

// A name for link::MemoryGet.  By the rank's place on its node: it stays over attempts.
inline std::string RecorderMemory(std::uint32_t local_rank) {
  return "recorder." + std::to_string(local_rank);
}

inline constexpr char kRecorderSuffix[] = "recorder";

// Below ClusterPaths::JobLogs().
inline std::string RecorderFile(const std::string& job_logs, AttemptNumber attempt,
                                std::uint32_t rank) {
  return job_logs + "/" + std::to_string(attempt) + "/" + std::to_string(rank) + "." +
         kRecorderSuffix;
}

}  // namespace muster
