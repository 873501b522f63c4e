// A copy that nobody reads soon: past the caches, so that the lines of the target are not read
// first, and what the caches hold stays.  For pieces of less than some tens of MiB memcpy writes
// through them.
#pragma once

#include <cstddef>

namespace muster {

// As memcpy(3).
void StreamCopy(std::byte* into, const std::byte* from, std::size_t bytes);

}  // namespace muster
