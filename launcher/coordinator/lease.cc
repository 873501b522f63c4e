#include "launcher/coordinator/lease.h"

#include <algorithm>
#include <utility>

namespace muster {

bool Leases::Heard(const NodeName& node, TimePoint now) {
  Lease& lease = leases_[node];
  const bool was_expired = lease.expired;
  lease = {.heard = now};
  return was_expired;
}

std::vector<NodeName> Leases::TakeExpired(TimePoint now) {
  std::vector<NodeName> expired;
  for (auto& [node, lease] : leases_) {
    if (lease.expired || now - lease.heard < lost_after_) continue;
    lease.expired = true;
    expired.push_back(node);
  }
  return expired;
}

void Leases::Forgive(TimePoint now) {
  for (auto& [node, lease] : leases_) {
    if (lease.expired || std::exchange(lease.forgiven, true)) continue;
    lease.heard = std::max(lease.heard, now - lost_after_ + lost_after_ / kForgivenPerLease);
  }
}

TimePoint Leases::NextDeadline() const {
  TimePoint next = TimePoint::max();
  for (const auto& [node, lease] : leases_) {
    if (!lease.expired) next = std::min(next, lease.heard + lost_after_);
  }
  return next;
}

}  // namespace muster
