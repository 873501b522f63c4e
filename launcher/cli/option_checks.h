// What is wrong with a value of the command line or of a job file, to be read after the name of the
// option or key; empty if nothing is.  Pure.
#pragma once

#include <string>

namespace muster {

// A folder's absolute path, or nfs://HOST/EXPORT.
std::string CheckStore(const std::string& store);

// A folder's absolute path on every node.
std::string CheckLocalStore(const std::string& folder);

std::string CheckPorts(const std::string& text);
std::string CheckSignal(const std::string& text);
std::string CheckDuration(const std::string& text);

}  // namespace muster
