// How a message of ours becomes bytes: little-endian, no padding, lengths before contents.
//
// A message is a struct whose Fields() names its members in order:
//
//   struct Hello {
//     std::uint32_t pid = 0;
//     std::string token;
//     template <typename Archive>
//     void Fields(Archive& archive) { archive(pid, token); }
//   };
//
// New members are added at the end: a decoder that runs out of bytes *between* members leaves the
// rest at their defaults, so an older sender is understood; bytes after the last member are
// skipped, so a newer one is too.  That holds for the outermost message only; structs inside
// vectors are fixed.  Used by the link, jobd, the PMIx helper and the mover.  Pure; any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/result.h"

namespace muster {

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
    } else {
      value.Fields(*this);
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
  void Size(std::size_t size) {
    auto size32 = static_cast<std::uint32_t>(size);
    CHECK(size32 == size);
    Put(size32);
  }
  std::string bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename... T>
  void operator()(T&... members) {
    ++depth_;
    ((depth_ == 1 && bytes_.empty() ? void() : Get(members)), ...);
    --depth_;
  }
  bool ok() const { return ok_; }

 private:
  template <typename T>
  void Get(T& value) {
    if constexpr (std::is_enum_v<T> || std::is_arithmetic_v<T>) {
      if (!Has(sizeof value)) return;
      std::memcpy(&value, bytes_.data(), sizeof value);
      bytes_.remove_prefix(sizeof value);
    } else {
      value.Fields(*this);
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
  int depth_ = 0;
  bool ok_ = true;
};

template <typename T>
std::string EncodeWire(const T& message) {
  WireWriter writer;
  const_cast<T&>(message).Fields(writer);  // Writing reads only.
  return std::move(writer).Take();
}

template <typename T>
Result<T> DecodeWire(std::string_view bytes) {
  T message;
  WireReader reader(bytes);
  message.Fields(reader);
  if (!reader.ok()) return Status(Code::kInvalid, "a message is shorter than its fields say");
  return message;
}

// A variant of messages travels as one byte, its index, then the message.  Alternatives are only
// ever added at the end; an index that is not known decodes to nullopt and is to be skipped.
template <typename Variant>
std::string EncodeVariant(const Variant& message) {
  std::string bytes(1, static_cast<char>(message.index()));
  std::visit([&](const auto& m) { bytes += EncodeWire(m); }, message);
  return bytes;
}

template <typename Variant, std::size_t I = 0>
Status DecodeVariantInto(std::string_view bytes, std::optional<Variant>& known) {
  if constexpr (I < std::variant_size_v<Variant>) {
    if (static_cast<unsigned char>(bytes[0]) != I) {
      return DecodeVariantInto<Variant, I + 1>(bytes, known);
    }
    auto message = DecodeWire<std::variant_alternative_t<I, Variant>>(bytes.substr(1));
    if (!message.ok()) return std::move(message).status();
    known.emplace(std::in_place_index<I>, *std::move(message));
  }
  return {};
}

template <typename Variant>
Result<std::optional<Variant>> DecodeVariant(std::string_view bytes) {
  if (bytes.empty()) return Status(Code::kInvalid, "an empty message");
  std::optional<Variant> known;
  RETURN_IF_ERROR(DecodeVariantInto(bytes, known));
  return known;
}

}  // namespace muster
