// What coordinator, agent and job daemon tell each other about jobs: orders go down, statuses come
// up.
//
// Orders travel coordinator -> agent (Session stream) -> jobd (unix socket); statuses the other
// way.  Both are idempotent.  A status is the whole truth about one jobd, sent again on each change
// and on each reconnect, so a lost connection loses nothing: whoever receives one compares it with
// what it wants.  Orders are O(nodes): hosts and ranks per host, never a list of ranks.
//
// Carried in the form of wire.h.  Pure values; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/launch.h"

namespace muster {

using NodeName = std::string;
using JobId = std::uint64_t;          // From 1, never reused.
using AttemptNumber = std::uint32_t;  // From 0.

// One life of an agent, random.  It guards orders only: an agent drops an order for another life.
using Incarnation = std::uint64_t;

// One life of a jobd, random.  0 means none.
using Instance = std::uint64_t;

// ---- what runs ----------------------------------------------------------------------------------

struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;  // Supplementary.
  std::string user;                   // For people; the ids decide.
  std::string home;                   // libpmix crashes without one.
  bool operator==(const Owner&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(uid, gid, groups, user, home);
  }
};

struct ResourceLimit {
  std::int32_t resource = 0;  // RLIMIT_*.
  std::uint64_t soft = 0, hard = 0;
  bool operator==(const ResourceLimit&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(resource, soft, hard);
  }
};

struct Program {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value, before muster's own are added.
  std::string workdir;
  std::uint32_t umask = 022;
  std::vector<ResourceLimit> limits;
  bool operator==(const Program&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(argv, environment, workdir, umask, limits);
  }
};

struct CheckpointPolicy {
  std::string store;       // Empty: the job has none.
  std::uint32_t keep = 3;  // Commits kept.
  bool required = true;    // A store that fails stops the job; else it goes on without.
  std::uint32_t deadline_ms = 120'000;  // A store that does not get on for so long is left behind.
  std::uint64_t bytes_per_s = 0;        // All nodes together write at most so much; 0: no limit.
  std::string local;      // A folder of each node that a save is written to first; empty: none.
  std::string keep_also;  // Which others are kept, as checkpoint/keep_rules.h writes it.
  std::vector<std::string> metadata;  // NAME=value, for people who look at a checkpoint.
  std::string resume;                 // The run that this job goes on with; empty: a new one.
  bool operator==(const CheckpointPolicy&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(store, keep, required, deadline_ms, bytes_per_s, local, keep_also, metadata, resume);
  }
};

// One node's place in an attempt.
struct Host {
  NodeName node;
  std::vector<std::string>
      addresses;  // Candidates; the first that answers with the job's key is used.
  std::uint32_t first_rank = 0;
  std::vector<std::uint32_t> slots;  // One local rank each, in this order.
  bool operator==(const Host&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(node, addresses, first_rank, slots);
  }
};

// ---- orders -------------------------------------------------------------------------------------

// Make this attempt run: start a jobd for the job where there is none, wire up, and fork the ranks
// once every host is ready.  hosts[0] is the head.
struct StartAttempt {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::string run_id;   // 32 hexadecimal digits: names the run's folder in a store.
  std::string job_key;  // 32 random bytes: TLS-PSK between the job's daemons.
  Owner owner;
  Program program;
  CheckpointPolicy checkpoint;
  std::uint32_t grace_ms = 30000;
  std::uint32_t fence_ms = 2500;
  std::vector<Host> hosts;
  std::uint32_t host_index = 0;  // Which of them the receiver is.
  std::string name;              // The job's, for people.
  std::uint32_t max_restarts = 0;
  LaunchOptions launch;
  bool operator==(const StartAttempt&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, run_id, job_key, owner, program, checkpoint, grace_ms, fence_ms, hosts,
      host_index, name, max_restarts, launch);
  }
};

// Where the head's jobd listens.  Sent to the other hosts once the head has said its port.
struct MeetHead {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::uint16_t port = 0;
  bool operator==(const MeetHead&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, port);
  }
};

// Ends the attempt: asks the ranks (link Stop and SIGTERM), kills after grace_ms (0: at once), and
// leaves the attempt for good.
struct StopAttempt {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::uint32_t grace_ms = 0;
  bool operator==(const StopAttempt&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, grace_ms);
  }
};

struct SignalRanks {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::int32_t signal = 0;
  std::int32_t rank = -1;  // -1: all.
  bool operator==(const SignalRanks&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, signal, rank);
  }
};

// The job is over: kill what is left of it, let the mover finish, end the jobd, sweep its traces.
struct EndJob {
  JobId job = 0;
  bool operator==(const EndJob&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job);
  }
};

using Order = std::variant<StartAttempt, MeetHead, StopAttempt, SignalRanks, EndJob>;

}  // namespace muster
