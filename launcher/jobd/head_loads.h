// The loads that the head of a job waits for: which hosts' ranks have come, so that all load the
// same commit, whichever rank has loaded how often before.
//
// A host says that it has come when all its ranks have, under a number of its own; the answer has
// that number, so that a host which gave up meanwhile and came again does not take an older one.
//
// Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/orders.h"

namespace muster {

class HeadLoads {
 public:
  // Hosts that are to be answered, each with its number.
  struct Round {
    std::map<std::uint32_t, std::uint64_t> hosts;
    std::string error;  // Who did not come; empty: all have.
    bool operator==(const Round&) const = default;
  };

  // Of a new attempt.
  void Begin(std::vector<Host> hosts);

  // The others have until `deadline` at the latest.
  void Came(std::uint32_t host, std::uint64_t number, TimePoint deadline);
  // All ranks of that host have ended.
  void NoMore(std::uint32_t host) { gone_.insert(host); }
  // The round that is over: all have come, or not all in time.
  std::optional<Round> End(TimePoint now);

 private:
  std::vector<Host> hosts_;
  std::map<std::uint32_t, std::uint64_t> came_;
  TimePoint deadline_;
  std::set<std::uint32_t> gone_;
};

}  // namespace muster
