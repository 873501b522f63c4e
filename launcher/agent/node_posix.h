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

// When the process began, in clock ticks since boot; nothing for one that is dead or a zombie.
std::optional<std::uint64_t> StartOf(std::int64_t pid);

struct Orphan {
  std::int64_t pid = 0;
  JobId job = 0;
  std::uint32_t uid = 0;
};

// Processes that carry the cookie of a job of this node ("PREFIX" and the job's number).
std::vector<Orphan> JobCarriers(const std::string& cookie_prefix);

}  // namespace muster
