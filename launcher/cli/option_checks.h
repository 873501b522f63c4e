// What is wrong with a value of the command line or of a job file, to be read after the name of the
// option or key; empty if nothing is.  Pure.
#pragma once

#include <string>

#include "runtime/base/orders.h"

namespace muster {

// A folder's absolute path, or nfs://HOST/EXPORT.
std::string CheckStore(const std::string& store);

// A folder's absolute path on every node.
std::string CheckLocalStore(const std::string& folder);

// A run id: 32 hexadecimal digits.
std::string CheckRunId(const std::string& run);

// Rules as runtime/checkpoint/keep_rules.h has them; or sets a policy to them.
std::string CheckKeep(const std::string& rules);
std::string SetKeep(const std::string& rules, CheckpointPolicy& policy);

// NAME=VALUE that a checkpoint carries beside what muster says of it.
std::string CheckMetadata(const std::string& entry);

std::string CheckPorts(const std::string& text);
std::string CheckSignal(const std::string& text);
std::string CheckDuration(const std::string& text);

}  // namespace muster
