// What the ranks' environment must know of this machine.  Any thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// Cores that this process may run on.
std::uint32_t UsableCores();

// IP addresses of this machine, as text.
std::set<std::string> OwnAddresses();

// Ranks of the attempt that share this machine: embedded nodes are hosts on one machine.
std::uint32_t RanksOnThisMachine(const StartAttempt& order);

// The network interface that has the address; empty: none.
std::string InterfaceOf(const std::string& address);

std::uint64_t PhysicalMemory();

// Microseconds of the monotonic clock, and since 1970.
std::int64_t MonotonicMicroseconds();
std::int64_t WallMicroseconds();

}  // namespace muster
