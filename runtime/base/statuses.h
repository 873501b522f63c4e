// What job daemons and agents say upwards: statuses that count, and news for people.
//
// A status is the whole truth about one jobd; see orders.h for the rule that both directions are
// idempotent.  Pure values; any thread.
#pragma once

#include "runtime/base/orders.h"

namespace muster {

enum class CauseKind : std::uint8_t {
  kNone,
  kExit,    // A rank left with a code other than 0.
  kSignal,  // A rank was killed by a signal.
  kOutOfMemory,
  kNotFound,       // 127: the program is not there.
  kNotExecutable,  // 126.
  kAborted,        // MPI_Abort.
  kSingleton,      // A rank has libmpi mapped and never met its PMIx server.
  kPeerLost,       // A jobd of another node fell silent for the fence time.
  kNodeLost,
  kJobdLost,
  kPmixLost,
  kLaunch,      // The node could not start the attempt; text says why.
  kStore,       // The store failed and the job requires it.
  kSuperseded,  // A newer generation of the run owns the store.
  kCancelled,
  kTimeLimit,
  kClientLost,  // `muster run` died.
};

// Why an attempt ended: the first failure, not its consequences.
struct Cause {
  CauseKind kind = CauseKind::kNone;
  std::int32_t rank = -1;  // -1: none in particular.
  NodeName node;
  std::uint32_t slot = 0;
  std::int32_t code = 0;         // Exit code or signal number.
  std::string text;              // For people; the last lines of the rank's stderr, or what failed.
  bool consequence = false;      // The rank's own words or its signal say that a peer went first.
  std::int64_t wall_us = 0;      // When, by the node's clock; 0: not known.
  std::uint64_t used_bytes = 0;  // Of memory, by the rank at its peak; with kOutOfMemory.
  std::uint64_t limit_bytes = 0;
  bool operator==(const Cause&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(kind, rank, node, slot, code, text, consequence, wall_us, used_bytes, limit_bytes);
  }
};

enum class MemberPhase : std::uint8_t {
  kNone,      // No attempt yet.
  kStarting,  // Wiring up; `port` is set once it listens.
  kReady,     // Everything is prepared; waits for the head's word.
  kRunning,   // Its ranks were forked.
  kFinished,  // Its ranks all left with 0 and it still holds the attempt together.
  kStopping,  // Its ranks are being ended.
  kLeft,  // No rank of the attempt is alive here, and it will never vouch for the attempt again.
  kDead,  // Said by the agent: the jobd is gone, nothing of the job is alive on the node.
  kGone,  // Said by the agent: the same, after EndJob, and every trace was swept.
};

// Where a rank sits on its machine.
struct Seat {
  std::uint32_t rank = 0, slot = 0;
  std::string cpus;        // "0-7,64-71"; empty: not bound.
  std::int32_t numa = -1;  // -1: the machine has one NUMA node.
  std::int32_t gpu = -1;   // In the order of PCI addresses; -1: none.
  std::string nic;         // The fabric NIC nearest to it; empty: none.
  bool operator==(const Seat&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(rank, slot, cpus, numa, gpu, nic);
  }
};

// Where the ranks of an attempt sit on one machine.
struct Seating {
  std::uint32_t cpus = 0;  // Of the machine; 0: nobody looked.
  std::vector<Seat> seats;
  std::string note;
  bool operator==(const Seating&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(cpus, seats, note);
  }
};

// One jobd, whole.
struct JobdStatus {
  JobId job = 0;
  Instance instance = 0;
  AttemptNumber attempt = 0;
  MemberPhase phase = MemberPhase::kNone;
  std::uint16_t port = 0;
  std::uint32_t ranks_alive = 0;
  bool asked_to_stop = false;  // Ranks were asked: an exit with 0 is then stopped, not done.
  Cause cause;                 // The first failure this jobd knows of.
  Seating seating;             // Of the attempt; empty until its ranks are prepared.
  bool operator==(const JobdStatus&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, instance, attempt, phase, port, ranks_alive, asked_to_stop, cause, seating);
  }
};

// What a rank spent in one part of its steps.
struct PhaseTime {
  std::string name;  // "forward".
  std::uint64_t us = 0;
  bool operator==(const PhaseTime&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(name, us);
  }
};

// What people watch while a job runs; never journaled, dropped when nobody listens.
struct JobProgress {
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::uint64_t step = 0;
  double loss = 0;
  std::uint64_t tokens = 0;
  std::uint64_t comm_us = 0;
  std::uint64_t committed_step = 0;  // 0: none yet.
  std::string note;  // One line of the job's story, such as "restored step 40 from memory".
  // Of rank 0, since the attempt began; empty: it did not say, or this is of another node.
  std::string phase;
  std::vector<PhaseTime> phases;
  bool operator==(const JobProgress&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, step, loss, tokens, comm_us, committed_step, note, phase, phases);
  }
};

// What one jobd saw, in microseconds of its node's monotonic clock; the demo's time line.
enum class Mark : std::uint8_t {
  kFailureSeen,
  kAllGone,
  kRanksForked,
  kMpiUp,          // Every local rank met its PMIx server and passed the last start-up fence.
  kStateRestored,  // The ranks said phase kTraining.
  kFirstStep,      // First step completed that is higher than any before.
};

struct JobMark {
  JobId job = 0;
  AttemptNumber attempt = 0;
  Mark mark = Mark::kFailureSeen;
  std::int64_t at_us = 0;
  bool operator==(const JobMark&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(job, attempt, mark, at_us);
  }
};

// jobd or agent upwards.
using Report = std::variant<JobdStatus, JobProgress, JobMark>;

}  // namespace muster
