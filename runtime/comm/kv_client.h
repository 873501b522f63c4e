// The launcher's keys as libmuster_client gives them, which this library does not link: a program
// that does hands its functions over,
//
//   ClientStore store({muster_kv_set, muster_kv_get, muster_status_text});
//
// Any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "runtime/comm/kv.h"

namespace muster {

class ClientStore final : public KeyValueStore {
 public:
  struct Calls {
    int (*set)(const char* key, const void* value, std::size_t length) = nullptr;
    int (*get)(const char* key, void* buffer, std::size_t* length,
               std::uint32_t timeout_ms) = nullptr;
    const char* (*status_text)(int status) = nullptr;
  };
  explicit ClientStore(Calls calls) : calls_(calls) {}

  Status Set(const std::string& key, const std::string& value) override {
    return StatusOf("setting", key, calls_.set(key.c_str(), value.data(), value.size()));
  }

  Result<std::string> Get(const std::string& key, Duration timeout) override {
    std::string value(kMost, '\0');
    std::size_t length = value.size();
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    const auto bounded = static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 1, 1 << 30));
    RETURN_IF_ERROR(
        StatusOf("waiting for", key, calls_.get(key.c_str(), value.data(), &length, bounded)));
    value.resize(length);
    return value;
  }

 private:
  static constexpr std::size_t kMost = 1024;  // No value of this library is longer.
  static constexpr int kTimeout = 4;          // MUSTER_TIMEOUT.

  Status StatusOf(const std::string& doing, const std::string& key, int status) const {
    if (status == 0) return {};
    return Status(status == kTimeout ? Code::kDeadline : Code::kUnavailable,
                  doing + " key " + key + ": " + calls_.status_text(status));
  }

  const Calls calls_;
};

}  // namespace muster
