// Reads the log files of one job on this node: STATE/logs/JOB/ATTEMPT/RANK.{out,err} (paths.h).
#pragma once

#include <memory>
#include <string>

#include "launcher/agent/logs.h"

namespace muster {

// `job_logs`: ClusterPaths::JobLogs().  A folder or file that is not there yet is simply empty.
// What another node wrote there (an embedded one) is left to its agent.
std::unique_ptr<LogSource> OpenLogFiles(const std::string& job_logs, const NodeName& node,
                                        LogWish wish);

}  // namespace muster
