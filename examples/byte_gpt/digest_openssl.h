// SHA-256, as 64 hexadecimal digits.  Any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace muster {

std::string Sha256(std::span<const std::byte> bytes);

}  // namespace muster
