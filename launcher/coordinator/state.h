// The cluster as the coordinator knows it: plain values that only Apply() (facts.h) changes.
//
// Whatever is here survives a crash, because facts are journaled and replayed.  What need not
// (leases, progress, log offsets) lives beside it in the loop.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/statuses.h"

namespace muster {

struct RestartPolicy {
  std::uint32_t max = 0;
  bool on_signal = true;
  bool on_node_lost = true;  // Also a lost jobd or PMIx server.
  bool on_exit = true;
  std::vector<std::int32_t> never;  // Exit codes; 126 and 127 are never retried anyway.
  bool operator==(const RestartPolicy&) const = default;
};

// What the user asked for, checked.
struct JobSpec {
  std::string name;
  std::uint32_t nodes = 1;
  std::uint32_t ranks_per_node = 0;  // 0: every slot of a node.
  Program program;
  RestartPolicy restart;
  CheckpointPolicy checkpoint;
  std::uint32_t grace_ms = 30000;
  std::uint32_t time_limit_s = 0;  // 0: none.
  bool attached = false;  // A `muster run` holds it: when that dies the job is stopped with grace.
  std::uint32_t min_nodes =
      0;  // An attempt takes `nodes`, or as many as fit, but not fewer; 0: nodes.
  LaunchOptions launch;
  bool operator==(const JobSpec&) const = default;
};

struct Node {
  NodeName name;
  std::vector<std::string> addresses;
  std::string block, leaf, spine;
  std::uint32_t slots = 0;
  Incarnation incarnation = 0;  // 0: never seen.
  std::string boot_id;
  bool lost = true;     // Not heard of for longer than a lease.
  std::string drained;  // The reason; empty: takes work.
  // Jobs that have ended or gone elsewhere, whose jobd has not yet reported kGone here.
  std::set<JobId> leftovers;
  bool operator==(const Node&) const = default;
};

// One node's part of an attempt.
struct Member {
  Host host;
  std::string boot_id;
  Instance instance = 0;
  MemberPhase phase = MemberPhase::kNone;
  std::uint16_t port = 0;
  bool vouches_no_more =
      false;              // Reported kLeft or kDead in this attempt (D13's "stopped and left").
  bool released = false;  // Gone without a report: new boot, drained dead, or fenced.
  bool asked_to_stop = false;  // Its ranks left after they were asked to.
  bool operator==(const Member&) const = default;
};

struct Attempt {
  AttemptNumber number = 0;
  std::vector<Member> members;  // [0] is the head.
  bool running = false;         // Some member has forked its ranks.
  bool stopping = false;
  Cause cause;  // Why it is stopping.
  // When the first member left while another was silent; the others are fenced fence + margin
  // later.  Starts anew in each life of the coordinator: monotonic clocks do not outlive one.
  std::optional<TimePoint> fence_from;
  std::optional<TimePoint> started_at;  // For time_limit; likewise.
  bool operator==(const Attempt&) const = default;
};

enum class JobPhase : std::uint8_t { kPending, kRunning, kEnded };
enum class Outcome : std::uint8_t { kNone, kSucceeded, kFailed, kCancelled, kPreempted };

struct Job {
  JobId id = 0;
  std::string submit_key;  // Idempotency key of the submission.
  std::string run_id, job_key;
  JobSpec spec;
  Owner owner;
  JobPhase phase = JobPhase::kPending;
  std::optional<Attempt> attempt;  // The current or last one.
  AttemptNumber next_attempt = 0;
  std::uint32_t restarts = 0;
  // Asked to end: kCancelled, kClientLost or kTimeLimit.  Code 9: asked twice, without grace.
  std::optional<Cause> cancel;
  Outcome outcome = Outcome::kNone;
  std::int32_t exit_code = 0;  // Of `run` and `wait`, as design.md section 6 lists them.
  Cause cause;                 // Why it ended; of the last failure while it lives.
  bool operator==(const Job&) const = default;
};

struct State {
  std::string cluster;
  std::map<NodeName, Node> nodes;
  std::map<JobId, Job> jobs;
  std::map<std::string, JobId> submit_keys;
  JobId next_job = 1;
  std::uint64_t lives = 0;  // Of the coordinator.
  bool operator==(const State&) const = default;
};

}  // namespace muster
