// A job daemon started before any job needs it, with its PMIx server up: so that a job's start does
// not wait for two processes.  At most one, for the owner of the last job.
//
// One thread, the agent's loop.  Nothing here is told to the core: a spare that is taken is what
// Spawn would have started.
#pragma once

#include <optional>
#include <vector>

#include "launcher/agent/jobd_link_posix.h"
#include "launcher/agent/jobd_process_posix.h"
#include "runtime/base/clock.h"

namespace muster {

class SpareJobd {
 public:
  explicit SpareJobd(const JobdHost& host) : host_(host) {}

  // For jobs of this owner, started not before `at`; replaces an earlier wish.
  void Want(const Owner& owner, TimePoint at);
  // One that is wanted is started at `at` already.
  void Hurry(TimePoint at) {
    if (start_at_ != TimePoint::max()) start_at_ = std::min(start_at_, at);
  }

  struct Taken {
    JobdProcess process;
    std::optional<JobdLink> link;  // If it stood already.
  };
  // The spare, if there is one for this owner and it is alive.
  std::optional<Taken> Take(const Owner& owner);

  std::vector<int> Interests() const;
  TimePoint NextDeadline() const;
  // Starts it, connects to it, and sees its end.
  void Advance(TimePoint now);

  // Ends it and removes its traces, for good: within a second.
  void Remove();

 private:
  struct Life {
    Owner owner;
    JobdProcess process;
    std::optional<JobdLink> link;
  };

  void Start(TimePoint now);
  void Connect(TimePoint now);
  bool Alive() const;

  const JobdHost& host_;
  std::optional<Owner> owner_;
  std::optional<Life> life_;
  TimePoint start_at_ = TimePoint::max();
  TimePoint connect_at_ = TimePoint::max(), give_up_;
  Duration pause_{};
};

}  // namespace muster
