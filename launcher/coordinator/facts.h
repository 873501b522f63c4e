// Facts: everything that ever changes the State, in the past tense.
//
// The journal holds facts and nothing else; replay is Apply() alone, so new code reads an old
// journal to the same state.  A fact says what changed, never why the code thought so.
#pragma once

#include <variant>

#include "launcher/coordinator/state.h"

namespace muster {

struct CoordinatorStarted {
  std::string cluster;
  TimePoint at;  // Every TimePoint in the State becomes this: clocks do not outlive a life.
};
struct NodeRegistered {  // Incarnation 0: named by the cluster file, not heard of.
  NodeName name;
  std::vector<std::string> addresses;
  std::string block, leaf, spine;
  std::uint32_t slots = 0;
  Incarnation incarnation = 0;
  std::string boot_id;
};
struct NodeWasLost {
  NodeName name;
};
struct NodeWasFound {  // Heard again, in the same life.
  NodeName name;
};
struct NodeDrainSet {
  NodeName name;
  std::string reason;  // Empty: resumed.
};
struct JobAccepted {
  JobId job = 0;
  std::string submit_key, run_id, job_key;
  JobSpec spec;
  Owner owner;
};
struct JobCancelAsked {
  JobId job = 0;
  Cause cause;
  bool sets_grace = false;  // The job's grace is from now on ...
  std::uint32_t grace_ms = 0;
};
struct AttemptPlaced {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::vector<Host> hosts;
  std::vector<std::string> boot_ids;  // One a host.
  TimePoint at;
};
struct MemberChanged {
  JobId job = 0;
  AttemptNumber attempt = 0;
  NodeName node;
  Instance instance = 0;
  MemberPhase phase = MemberPhase::kNone;
  std::uint16_t port = 0;
  bool asked_to_stop = false;
};
struct MemberReleased {
  JobId job = 0;
  AttemptNumber attempt = 0;
  NodeName node;
  std::string why;
};
struct FenceBegan {
  JobId job = 0;
  AttemptNumber attempt = 0;
  TimePoint at;
};
struct AttemptStopped {  // It is to end; its members are being told.
  JobId job = 0;
  AttemptNumber attempt = 0;
  Cause cause;
};
struct AttemptEnded {  // No rank of it is alive anywhere.
  JobId job = 0;
  AttemptNumber attempt = 0;
  bool counts_as_restart = false;
};
struct JobEnded {
  JobId job = 0;
  Outcome outcome = Outcome::kNone;
  std::int32_t exit_code = 0;
  Cause cause;
};
struct LeftoverSwept {  // The node reported kGone for an ended job, or can have nothing of it.
  JobId job = 0;
  NodeName node;
};

using Fact =
    std::variant<CoordinatorStarted, NodeRegistered, NodeWasLost, NodeWasFound, NodeDrainSet,
                 JobAccepted, JobCancelAsked, AttemptPlaced, MemberChanged, MemberReleased,
                 FenceBegan, AttemptStopped, AttemptEnded, JobEnded, LeftoverSwept>;

void Apply(State& state, const Fact& fact);

}  // namespace muster
