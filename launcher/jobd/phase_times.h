// Where a rank is in its step, and how much of the attempt it spent where, from what it reports.
//
// A rank that counts its time in each phase is believed; of one that only says in which it is, and
// how long it waited in collectives, the time between two reports counts.  Pure; one thread.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/link.h"
#include "runtime/base/statuses.h"

namespace muster {

// As people say it: "forward".  Those of muster.PHASES in the Python package.
std::string PhaseName(link::Phase phase);

class PhaseTimes {
 public:
  void Add(const link::Progress& progress, TimePoint now);

  std::string phase() const { return heard_ ? PhaseName(phase_) : ""; }
  // Those that it spent time in.
  std::vector<PhaseTime> times() const;

 private:
  bool heard_ = false;
  link::Phase phase_ = link::Phase::kStarting;
  TimePoint at_;
  std::array<std::uint64_t, link::kPhaseCount> us_{};
};

}  // namespace muster
