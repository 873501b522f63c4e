// What the kernel's log says of processes that the out-of-memory killer ended.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace muster {

// Whether this record says that the killer chose the process, in the words of Linux 3.x to 6.x.
bool TellsOfOutOfMemory(std::string_view record, std::int64_t pid);

}  // namespace muster
