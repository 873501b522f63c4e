// What an agent finds out about its machine.  Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// The kernel's, the same until the next boot.
Result<std::string> BootId();

// Where other hosts may reach this one: interfaces that are up, IPv4 before IPv6, link-local last.
// Only the loopback's with `loopback`, which otherwise is left out.
std::vector<std::string> NodeAddresses(bool loopback);

std::uint32_t CpuCount();

// NVIDIA's, as its driver shows them; 0 without one.
std::uint32_t GpuCount();

// When the process began, in clock ticks since boot; nothing for one that is dead or a zombie.
std::optional<std::uint64_t> StartOf(std::int64_t pid);

// A process that carries a MUSTER_JOB_COOKIE.
struct Carrier {
  std::int64_t pid = 0;
  std::string cookie;
};

// Those whose cookie begins so: all that job daemons of this node started.
std::vector<Carrier> JobCarriers(const std::string& cookie_prefix);

}  // namespace muster
