// The coordinator's decisions.
//
// Decide() is the only place where the cluster's fate is chosen.  It reads no clock, takes no lock
// and does no I/O; the loop feeds it events in order, journals the facts, and lets the effects go
// once the facts are durable.
//
// Promises (checked by tests/sim after every event, whatever crashes):
//   - no slot is given to two jobs;
//   - ranks of two attempts of one job never run at once: the next attempt is placed only when
//     every member of the old one reported kLeft, kFinished, kDead or kGone, or was released (D13);
//   - an acknowledged submission is never lost;
//   - a job never waits for ever without a reason that Why() can show.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "launcher/coordinator/facts.h"
#include "launcher/coordinator/share_limits.h"
#include "runtime/base/result.h"

namespace muster {

// ---- what happened ------------------------------------------------------------------------------

struct CoordinatorBegan {
  std::string cluster;
  std::vector<NodeRegistered> nodes;  // Of the cluster file, with incarnation 0: not yet seen.
};
struct JobSubmitted {
  std::string submit_key, run_id, job_key;
  JobSpec spec;
  Owner owner;
};
struct JobCancelled {  // Asked for: Cause kind kCancelled or kClientLost.
  JobId job = 0;
  Cause cause;
  std::optional<std::uint32_t> grace_ms;  // Instead of the job's own.
};
struct JobSignalled {
  JobId job = 0;
  std::int32_t signal = 0;
  std::optional<std::uint32_t> rank;  // Without: all.
};
// Registrations of one node come in the order in which the coordinator accepted their streams, and
// a stream that a newer one overtook is never heard again: the loop sees to it (by the number of
// the stream, which the agent must have been given before it registers).
struct AgentRegistered {
  NodeRegistered node;
  std::vector<JobdStatus> jobds;  // All that it adopted, dead ones too.
};
struct NodeSilent {  // Its lease ran out.
  NodeName node;
};
struct NodeHeard {  // A lost node's heartbeat came again on a stream that never broke.
  NodeName node;
};
struct JobdReported {
  NodeName node;
  Incarnation incarnation = 0;
  JobdStatus status;
};
struct NodeDrained {
  NodeName node;
  std::string reason;  // Empty: resume.
  bool dead = false;   // A person vouches that nothing of it runs any more.
};
struct Ticked {};
struct Stalled {};  // The coordinator was not run itself for a while (runtime/base/stall.h).

using Event =
    std::variant<CoordinatorBegan, JobSubmitted, JobCancelled, JobSignalled, AgentRegistered,
                 NodeSilent, NodeHeard, JobdReported, NodeDrained, Ticked, Stalled>;

// ---- what must be done --------------------------------------------------------------------------

// To the node's newest stream, or nowhere: what is lost is said again when the agent registers.
struct SendOrder {
  NodeName node;
  Incarnation incarnation = 0;
  Order order;
};
using Effect = std::variant<SendOrder>;

struct Decision {
  std::vector<Fact> facts;        // Already applied to the state, in this order.
  std::vector<Effect> effects;    // To be carried out once the facts are durable.
  std::optional<JobId> accepted;  // Answer to JobSubmitted: the new job, or the one with that key.
  Status status;                  // Answer to a submission, cancel, signal or drain that cannot be.
};

// `fence_margin`: what D13 waits beyond the jobs' fence time.  `nodes`: those of the cluster file,
// which shares are divided among; empty: all there are.
struct Limits {
  Duration fence_margin = std::chrono::milliseconds(500);
  std::uint32_t fence_ms = 2500;
  std::vector<ShareLimit> shares;
  std::set<NodeName> nodes;
};

Decision Decide(State& state, const Event& event, TimePoint now, const Limits& limits = {});

// When Decide wants the next Ticked at the latest; TimePoint::max() for never.
TimePoint NextDeadline(const State& state, const Limits& limits = {});

// One sentence or more for people: why the job is where it is, and what would change that.
std::vector<std::string> Why(const State& state, JobId job);

// The StartAttempt order for one member; also what a re-attached agent is told again.
StartAttempt MakeStartOrder(const State& state, const Job& job, std::size_t host_index,
                            const Limits& limits);

}  // namespace muster
