// CRC-32C (Castagnoli), as iSCSI, ext4 and RFC 3720 have it.  Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace muster::checkpoint {

// Files are checked in blocks of this size, counted from byte 0.
inline constexpr std::size_t kBlock = 1U << 20U;

std::uint32_t Crc32c(std::span<const std::byte> bytes);

inline std::uint32_t Crc32c(const std::string& text) {
  return Crc32c(std::as_bytes(std::span(text)));
}

// The one bit (8 x byte + bit) of `bytes` bytes whose flip makes CRC `due` into `found`; nullopt:
// more than one was flipped.
std::optional<std::uint64_t> FlippedBit(std::uint32_t found, std::uint32_t due,
                                        std::uint64_t bytes);

// Eight lower-case hexadecimal digits.
std::string CrcText(std::uint32_t crc);

}  // namespace muster::checkpoint
