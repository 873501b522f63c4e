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
// skipped, so a newer one is too.  A struct inside another one goes behind its own length, so that
// holds for it as well, wherever it stands; but for one that says `using Fixed = void`: it has no
// length, and its members never change.  tests/rules/wire_members.txt has every member there is, so
// that one that moved is found.  Used by the link, jobd, the PMIx helper and the mover.  Pure; any
// thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "runtime/base/result.h"
#include "runtime/base/wire_archives.h"

namespace muster {

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
