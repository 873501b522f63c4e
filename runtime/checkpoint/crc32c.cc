#include "runtime/checkpoint/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstdio>

namespace muster::checkpoint {

std::uint32_t Crc32c(std::span<const std::byte> bytes) {
  constexpr std::size_t kCallMax = std::size_t{1} << 30U;  // ISA-L counts in int.
  std::uint32_t crc = ~0U;
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kCallMax);
    auto* at = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    crc = crc32_iscsi(at, static_cast<int>(n), crc);
    bytes = bytes.subspan(n);
  }
  return ~crc;
}

// A CRC is linear: what a flip changes depends on its place alone.  So walk back from the last
// byte, with what each of its 8 bits would change.
std::optional<std::uint64_t> FlippedBit(std::uint32_t found, std::uint32_t due,
                                        std::uint64_t bytes) {
  constexpr std::uint32_t kPolynomial = 0x82F63B78;
  const auto shift = [](std::uint32_t crc) {
    return (crc & 1U) != 0 ? crc >> 1U ^ kPolynomial : crc >> 1U;
  };
  const std::uint32_t change = found ^ due;
  std::uint32_t of_bit = 1;  // Bit 7 of the last byte is shifted once...
  std::uint64_t bits = bytes * 8;
  for (; bits > 0; --bits) {  // ...each bit before it once more.
    of_bit = shift(of_bit);
    if (of_bit == change) return bits - 1;
  }
  return std::nullopt;
}

std::string CrcText(std::uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

}  // namespace muster::checkpoint
