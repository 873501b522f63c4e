#include "runtime/base/env_posix.h"

#include <unistd.h>

#include <cstdlib>

#include "runtime/base/check.h"

namespace muster {

std::optional<std::string> GetEnv(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::vector<std::string> Environment() {
  std::vector<std::string> all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    all.emplace_back(*entry);
  }
  return all;
}

void SetEnv(const std::string& name, const std::string& value) {
  CHECK(setenv(name.c_str(), value.c_str(), /*overwrite=*/1) == 0);
}

void UnsetEnv(const std::string& name) {
  CHECK(unsetenv(name.c_str()) == 0);
}

}  // namespace muster
