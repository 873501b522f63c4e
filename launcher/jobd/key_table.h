// The keys that the ranks of an attempt set for each other, bounded.
//
// What the launcher's own parts say to each other ("muster.") is always taken: there is little of
// it, and a clean stop needs it.  Pure; one thread.
#pragma once

#include <map>
#include <string>
#include <utility>

namespace muster {

class KeyTable {
 public:
  static constexpr std::size_t kBytesMost = 64 << 20;  // MUSTER_KV_BYTES
  static constexpr std::size_t kPerKey = 128;          // What it costs beside its letters.

  // Whether the key may have this value, beside what is there.
  bool Fits(const std::string& key, const std::string& value) const {
    if (key.starts_with("muster.")) return true;
    const auto found = values_.find(key);
    const std::size_t before = found == values_.end() ? 0 : Cost(key, found->second);
    return bytes_ - before + Cost(key, value) <= kBytesMost;
  }

  // False: it does not fit, and nothing is changed.
  bool Set(const std::string& key, std::string value) {
    if (!Fits(key, value)) return false;
    const auto [item, is_new] = values_.try_emplace(key);
    if (!is_new) bytes_ -= Cost(key, item->second);
    bytes_ += Cost(key, value);
    item->second = std::move(value);
    return true;
  }

  const std::string* Find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }

  void Clear() {
    values_.clear();
    bytes_ = 0;
  }

 private:
  static std::size_t Cost(const std::string& key, const std::string& value) {
    return key.size() + value.size() + kPerKey;
  }

  std::map<std::string, std::string> values_;
  std::size_t bytes_ = 0;
};

}  // namespace muster
