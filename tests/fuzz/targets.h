// What is fuzzed: each takes any bytes, and must come back.  A finding is a crash, a sanitizer's
// report, or a CHECK of the target itself: what was accepted must be usable, and read back the
// same.
#pragma once

#include <cstddef>
#include <cstdint>

namespace muster::checkpoint {

void FuzzManifest(const std::uint8_t* data, std::size_t size);
void FuzzRecord(const std::uint8_t* data, std::size_t size);
void FuzzSafetensors(const std::uint8_t* data, std::size_t size);

}  // namespace muster::checkpoint
