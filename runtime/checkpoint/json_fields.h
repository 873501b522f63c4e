// Reads the members of a JSON object that somebody else may have written: each missing or odd one
// becomes the one error, and none an exception.  Unknown members are not looked at.
//
// Pure; one thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace muster::checkpoint {

// Of claims, commit records and manifests.  1 had manifests of JSON.
inline constexpr std::uint16_t kFormatMajor = 2;
inline constexpr std::uint16_t kFormatMinor = 0;

inline Status CheckMajor(std::uint64_t major) {
  if (major == kFormatMajor) return {};
  const bool newer = major > kFormatMajor;
  return Status(Code::kUnimplemented,
                "format " + std::to_string(major) + " is " + (newer ? "newer" : "older") +
                    " than the " + std::to_string(kFormatMajor) + " that this muster reads; use " +
                    (newer ? "a newer one" : "the muster that wrote it"));
}

class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object) : object_(object) {
    if (!object.is_object()) Fail("not a JSON object");
  }

  std::uint64_t Number(const char* key) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned()) return value->get<std::uint64_t>();
    Fail(std::string("\"") + key + "\" is not a whole number");
    return 0;
  }

  std::uint32_t Small(const char* key) {
    const std::uint64_t value = Number(key);
    if (value > UINT32_MAX) Fail(std::string("\"") + key + "\" is too large");
    return static_cast<std::uint32_t>(value);
  }

  std::string Text(const char* key) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return value->get<std::string>();
    Fail(std::string("\"") + key + "\" is not a text");
    return {};
  }

  std::vector<std::uint64_t> Numbers(const char* key) {
    std::vector<std::uint64_t> numbers;
    for (const nlohmann::json& item : List(key)) {
      if (!item.is_number_unsigned()) {
        Fail(std::string("\"") + key + "\" holds something that is not a whole number");
        return {};
      }
      numbers.push_back(item.get<std::uint64_t>());
    }
    return numbers;
  }

  const nlohmann::json& List(const char* key) {
    static const nlohmann::json kNone = nlohmann::json::array();
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return kNone;
    if (value->is_array()) return *value;
    Fail(std::string("\"") + key + "\" is not a list");
    return kNone;
  }

  // Ours, and of a major version that this build knows.
  void CheckFormat() {
    const std::string format = Text("format");
    if (status_.ok() && format != "muster") Fail("\"format\" is \"" + format + "\", not muster");
    const std::uint64_t major = Number("major");
    if (status_.ok()) status_ = CheckMajor(major);
  }

  void Fail(std::string what) {
    if (status_.ok()) status_ = Status(Code::kDataLoss, std::move(what));
  }
  void Take(const Status& status) {
    if (status_.ok()) status_ = status;
  }
  const Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(const char* key) {
    if (!status_.ok()) return nullptr;
    const auto at = object_.find(key);
    if (at != object_.end()) return &*at;
    Fail(std::string("\"") + key + "\" is missing");
    return nullptr;
  }

  const nlohmann::json& object_;
  Status status_;
};

}  // namespace muster::checkpoint
