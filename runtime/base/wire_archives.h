// What goes through the members of a message (wire.h): one that writes them, one that reads them.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/base/check.h"

namespace muster {

template <typename T>
inline constexpr bool kIsFixed = requires {
  typename T::Fixed;
};

class WireWriter {
 public:
  template <typename... T>
  void operator()(T&... members) {
    (Put(members), ...);
  }
  std::string Take() && { return std::move(bytes_); }

 private:
  template <typename T>
  void Put(T& value) {
    if constexpr (std::is_enum_v<T> || std::is_arithmetic_v<T>) {
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else if constexpr (kIsFixed<T>) {
      value.Fields(*this);
    } else {
      const std::size_t at = bytes_.size();
      Size(0);
      value.Fields(*this);
      const std::uint32_t size = Size32(bytes_.size() - at - sizeof size);
      std::memcpy(bytes_.data() + at, &size, sizeof size);
    }
  }
  void Put(std::string& text) {
    Size(text.size());
    bytes_ += text;
  }
  template <typename T>
  void Put(std::vector<T>& items) {
    Size(items.size());
    for (T& item : items) Put(item);
  }
  template <typename T>
  void Put(std::optional<T>& item) {
    bool has = item.has_value();
    Put(has);
    if (has) Put(*item);
  }
  template <typename K, typename V>
  void Put(std::map<K, V>& items) {
    Size(items.size());
    for (auto& [key, value] : items) {
      K copy = key;
      Put(copy);
      Put(value);
    }
  }
  static std::uint32_t Size32(std::size_t size) {
    const auto size32 = static_cast<std::uint32_t>(size);
    CHECK(size32 == size);
    return size32;
  }
  void Size(std::size_t size) {
    std::uint32_t size32 = Size32(size);
    Put(size32);
  }
  std::string bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename... T>
  void operator()(T&... members) {
    ((bytes_.empty() && !fixed_ ? void() : Get(members)), ...);
  }
  bool ok() const { return ok_; }

 private:
  template <typename T>
  void Get(T& value) {
    if constexpr (std::is_enum_v<T> || std::is_arithmetic_v<T>) {
      if (!Has(sizeof value)) return;
      std::memcpy(&value, bytes_.data(), sizeof value);
      bytes_.remove_prefix(sizeof value);
    } else if constexpr (kIsFixed<T>) {
      const bool outer = std::exchange(fixed_, true);
      value.Fields(*this);
      fixed_ = outer;
    } else {
      const std::size_t size = Size();
      const std::string_view behind = bytes_.substr(size);
      bytes_ = bytes_.substr(0, size);
      const bool outer = std::exchange(fixed_, false);
      value.Fields(*this);
      fixed_ = outer;
      bytes_ = behind;
    }
  }
  void Get(bool& value) {
    std::uint8_t byte = 0;
    Get(byte);
    value = byte != 0;
  }
  void Get(std::string& text) {
    const std::size_t size = Size();
    if (!Has(size)) return;
    text.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <typename T>
  void Get(std::vector<T>& items) {
    const std::size_t size = Size();
    items.clear();
    for (std::size_t i = 0; i < size && ok_; ++i) Get(items.emplace_back());
  }
  template <typename T>
  void Get(std::optional<T>& item) {
    bool has = false;
    Get(has);
    item.reset();
    if (has && ok_) Get(item.emplace());
  }
  template <typename K, typename V>
  void Get(std::map<K, V>& items) {
    const std::size_t size = Size();
    items.clear();
    for (std::size_t i = 0; i < size && ok_; ++i) {
      K key{};
      Get(key);
      Get(items[key]);
    }
  }
  std::size_t Size() {
    std::uint32_t size = 0;
    Get(size);
    if (size > bytes_.size()) ok_ = false;  // Each item takes at least one byte.
    return ok_ ? size : 0;
  }
  bool Has(std::size_t size) {
    if (bytes_.size() < size) ok_ = false;
    return ok_;
  }
  std::string_view bytes_;
  bool fixed_ = false;  // All members of what is being read are there.
  bool ok_ = true;
};

}  // namespace muster
