// The environment of this process: read here and nowhere else.  Any thread, as long as none writes.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace muster {

std::optional<std::string> GetEnv(const std::string& name);

// The whole environment, as NAME=value.
std::vector<std::string> Environment();

// Call before any thread starts.
void SetEnv(const std::string& name, const std::string& value);
void UnsetEnv(const std::string& name);

}  // namespace muster
