// TCP ports that an attempt's ranks may listen at, and that no other job on this machine gets.
//
// A port is owned by whoever holds the abstract unix socket of its number: that name space is the
// network's, as TCP's is, and the kernel frees it with its owner.  One thread.
#pragma once

#include <vector>

#include "runtime/base/file_posix.h"
#include "runtime/base/port_range.h"

namespace muster {

struct PortLease {
  std::uint16_t port = 0;
  UniqueFd owner;  // Closed: anybody's again.
};

// `count` ports that were free a moment ago.  Begins at a random one, so that a port is not used
// again while the peers of its last job still try to reach it.
Result<std::vector<PortLease>> ClaimPorts(const PortRange& range, std::size_t count);

}  // namespace muster
