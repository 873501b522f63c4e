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

std::string CrcText(std::uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

}  // namespace muster::checkpoint
