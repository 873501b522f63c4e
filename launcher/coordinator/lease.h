// Which agents are alive, by when they were last heard.  Never journaled; the loop turns what runs
// out into NodeSilent events.  At its start the loop calls Heard() for each node that the State
// does not call lost, so that a node that died meanwhile is missed too.
//
// A coordinator that was not run itself (a machine that was paused, or starved) has not read what
// the agents said meanwhile: whoever looks silent to it by then is forgiven, once, until they can
// have been heard again.  Pure; owned by the loop.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/orders.h"

namespace muster {

class Leases {
 public:
  explicit Leases(Duration lost_after) : lost_after_(lost_after) {}

  // Returns true when the node had run out before: the caller tells Decide with NodeHeard.
  bool Heard(const NodeName& node, TimePoint now);

  // Nodes that ran out since the last call, each once.
  std::vector<NodeName> TakeExpired(TimePoint now);

  // When TakeExpired wants to be called at the latest: it looks more often than leases end.
  TimePoint NextDeadline() const;

 private:
  struct Lease {
    TimePoint heard;
    bool expired = false;
    bool forgiven = false;
  };

  void NoteStall(TimePoint now);
  // Of a lease: the longest that lies between two looks, and what is forgiven.
  Duration part() const { return lost_after_ / 5; }

  Duration lost_after_;
  std::optional<TimePoint> looks_at_;
  std::map<NodeName, Lease> leases_;
};

}  // namespace muster
