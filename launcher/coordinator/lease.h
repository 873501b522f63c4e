// Which agents are alive, by when they were last heard.  Never journaled; the loop turns what runs
// out into NodeSilent events.  At its start the loop calls Heard() for each node that the State
// does not call lost, so that a node that died meanwhile is missed too.
// Pure; owned by the loop.
#pragma once

#include <map>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/orders.h"

namespace muster {

inline constexpr int kForgivenPerLease = 5;

class Leases {
 public:
  explicit Leases(Duration lost_after) : lost_after_(lost_after) {}

  // Returns true when the node had run out before: the caller tells Decide with NodeHeard.
  bool Heard(const NodeName& node, TimePoint now);

  // Nodes that ran out since the last call, each once.
  std::vector<NodeName> TakeExpired(TimePoint now);

  // The caller was not run itself (runtime/base/stall.h): each node gets, once until it is heard,
  // a fifth of the lease to be heard in.
  void Forgive(TimePoint now);

  // The earliest moment at which TakeExpired may return something.
  TimePoint NextDeadline() const;

 private:
  struct Lease {
    TimePoint heard;
    bool expired = false;
    bool forgiven = false;
  };

  Duration lost_after_;
  std::map<NodeName, Lease> leases_;
};

}  // namespace muster
