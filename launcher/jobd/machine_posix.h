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

// Processes that the out-of-memory killer ended in this process's memory cgroup so far; 0 where
// there is no such cgroup.
std::uint64_t OutOfMemoryKills();

// Microseconds of the monotonic clock.
std::int64_t MonotonicMicroseconds();

}  // namespace muster
