// Signals by name.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace muster {

// From "9", "KILL", "SIGKILL" or "kill"; 0 when there is no such signal.
std::int32_t ParseSignal(std::string_view text);

std::string SignalName(std::int32_t signal);  // "SIGKILL", or "signal 63".

}  // namespace muster
