// Small words about text that several folders need.  Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

std::vector<std::string> Split(std::string_view text, char separator);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);

// The whole of `text` as a number, or nothing: no sign where none is allowed, no trailing bytes.
std::optional<std::uint64_t> ParseUnsigned(std::string_view text);
std::optional<std::int64_t> ParseSigned(std::string_view text);
std::optional<double> ParseDouble(std::string_view text);

// Run ids are those that muster gives: other folders of a store are others'.
inline constexpr std::size_t kRunDigits = 32;
bool IsRunId(std::string_view text);

// Lower-case hexadecimal, two digits a byte.
std::string ToHex(std::span<const std::byte> bytes);
std::optional<std::vector<std::byte>> FromHex(std::string_view text);

// "12.3 MiB": for people.
std::string HumanBytes(std::uint64_t bytes);

// The known word that is closest to `word` by edit distance, if any is near enough to be meant.
std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace muster
