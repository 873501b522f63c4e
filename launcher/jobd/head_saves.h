// The saves that the head of a job waits for: which hosts have come to each, and what became of
// their parts.
//
// It waits for the part of a host that has come as long as the writing takes, and for its coming
// only until a deadline: the ranks of a host may never call save, or have ended.  Then the save is
// given up, though not before those that came are done with it: nothing of it comes later.
//
// Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "launcher/jobd/checkpoint_words.h"
#include "runtime/base/clock.h"
#include "runtime/base/orders.h"

namespace muster {

class HeadSaves {
 public:
  using Ended = std::map<std::uint32_t, checkpoint_words::ShardEnded>;  // By host.
  struct GivenUp {
    std::uint64_t step = 0;
    std::string error;
    bool operator==(const GivenUp&) const = default;
  };

  // How long hosts wait for others to come to a save: as long as the ranks of the first say, and at
  // least as long as the store may stand still; where it may for ever (0), ten minutes.
  static Duration Wait(std::uint32_t timeout_ms, std::uint32_t deadline_ms);

  // Of a new attempt.
  void Begin(std::vector<Host> hosts);

  // True when it is the first: the others have until `deadline`.
  bool Came(std::uint32_t host, std::uint64_t step, TimePoint deadline);
  // What all hosts said of the save, when this was the last; it is waited for no longer.
  std::optional<Ended> End(std::uint32_t host, const checkpoint_words::ShardEnded& shard);
  // All ranks of that host have ended.
  void NoMore(std::uint32_t host) { gone_.insert(host); }

  // Those that are to be given up now; each once.
  std::vector<GivenUp> GiveUp(TimePoint now);
  // Those of older steps than one that was committed.
  std::vector<GivenUp> GiveUpOlder(std::uint64_t committed);
  // For a host that comes after all to a save that was given up: why.
  std::optional<std::string> WhyGivenUp(std::uint32_t host,
                                        const checkpoint_words::ShardEnded& shard);

 private:
  struct Save {
    TimePoint deadline;
    std::set<std::uint32_t> came;  // Hosts.
    Ended ended;
  };

  // A sentence, or nothing when it is to be waited for.
  std::string WhyNot(const Save& save, TimePoint now) const;

  std::vector<Host> hosts_;
  std::map<std::uint64_t, Save> saves_;                                      // By step.
  std::set<std::uint32_t> gone_;                                             // Hosts.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> given_up_;  // By step and nonce.
};

}  // namespace muster
