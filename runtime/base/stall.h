// Whether a loop was run when it wanted to be.
//
// A machine that is paused, or that starves the loop, wakes it late: its timers are due before it
// has read what others said meanwhile, and the others may have been paused with it.  Whoever judges
// by silence asks here first.  Pure; one thread.
#pragma once

#include <optional>
#include <utility>

#include "runtime/base/clock.h"

namespace muster {

class StallWatch {
 public:
  explicit StallWatch(Duration every) : every_(every) {}

  // At each turn.  True: it comes later than it was wanted, by `every` or more.
  bool Look(TimePoint now) {
    const auto wanted = std::exchange(next_, now + every_);
    return wanted && now >= *wanted + every_;
  }
  // When it wants to look again at the latest.
  TimePoint next() const { return next_.value_or(TimePoint::max()); }

  bool operator==(const StallWatch&) const = default;

 private:
  Duration every_;
  std::optional<TimePoint> next_;
};

}  // namespace muster
