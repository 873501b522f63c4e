// A cluster as the command line sees it: what it asks for, and what it is told.
//
// Plain values, free of gRPC and of the coordinator's own structs; client_grpc.h carries them.
// Words that travel as they are (Owner, Program, Cause, Mark) are those of runtime/base.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/log_times.h"
#include "runtime/base/statuses.h"

namespace muster {

// ---- asking -------------------------------------------------------------------------------------

struct JobRequest {
  std::string submit_key;  // Chosen by the caller, random: makes a second try the same submission.
  std::string name;
  std::uint32_t nodes = 1;
  std::uint32_t ranks_per_node = 0;  // 0: every slot of a node.
  Program program;
  struct Restart {
    std::uint32_t max = 0;
    bool on_signal = true;
    bool on_node_lost = true;
    bool on_exit = true;
    std::vector<std::int32_t> never;
  } restart;
  CheckpointPolicy checkpoint;
  std::uint32_t grace_ms = 30000;
  std::uint32_t time_limit_s = 0;  // 0: none.
  bool attached = false;           // Cancelled when nobody holds it (ClusterClient::Attach).
  std::uint32_t min_nodes = 0;     // At least so many, `nodes` if they fit; 0: nodes.
  LaunchOptions launch;
  Owner owner;
};

struct LogsRequest {
  JobId job = 0;
  std::optional<AttemptNumber> attempt;  // Without: the newest; with follow, those after it too.
  bool all_attempts = false;
  std::vector<std::uint32_t> ranks;  // Empty: all.
  std::vector<NodeName> nodes;       // Empty: all.
  bool follow = false;               // Until the job ended.
  LogSelection selection;
};

// A program beside a rank.
struct ExecRequest {
  JobId job = 0;
  std::uint32_t rank = 0;
  std::vector<std::string> argv;
  bool recorders = false;  // Instead: the flight recorders of its node are written down.
};

// A piece of what the caller gives to rank 0.
struct InputPiece {
  std::string data;
  std::uint32_t rows = 0, columns = 0;  // Not 0: the terminal has this size now.
};

// Where it comes from.  Called by the stream's threads.
class InputSource {
 public:
  virtual ~InputSource() = default;
  // Rank 0 reads from now on.
  virtual void Attached() = 0;
  // Waits for the next one; nothing: that was all, or Stop() was called.
  virtual std::optional<InputPiece> Next() = 0;
  virtual void Stop() = 0;
};

// ---- being told ---------------------------------------------------------------------------------

struct MemberView {
  NodeName node;
  std::uint32_t first_rank = 0;
  std::vector<std::uint32_t> slots;
  MemberPhase phase = MemberPhase::kNone;
  Seating seating;  // Not in lists.
};

struct ProgressView {
  AttemptNumber attempt = 0;
  std::uint64_t step = 0;
  double loss = 0;
  std::uint64_t tokens = 0;
  std::uint64_t comm_us = 0;
  std::uint64_t committed_step = 0;  // 0: none yet.
  // Where rank 0 is, and what it spent where since the attempt began; empty: it does not say.
  std::string phase;
  std::vector<PhaseTime> phases;
};

struct JobView {
  enum class Phase : std::uint8_t { kPending, kRunning, kEnded };
  enum class End : std::uint8_t { kNone, kSucceeded, kFailed, kCancelled, kPreempted };
  JobId id = 0;
  std::string name, run_id;
  std::uint32_t uid = 0;
  std::string user;
  Phase phase = Phase::kPending;
  End end = End::kNone;
  std::int32_t exit_code = 0;  // As design.md section 6 lists them.
  Cause cause;                 // Why it ended; of the last failure while it lives.
  std::uint32_t restarts = 0, max_restarts = 0;
  std::uint32_t nodes = 1, min_nodes = 0, ranks_per_node = 0;
  std::vector<std::string> argv;
  bool cancelling = false;
  std::optional<AttemptNumber> attempt;  // The current or last one.
  bool running = false;                  // Its ranks were forked.
  bool stopping = false;
  std::vector<MemberView> members;
  std::vector<std::string> why;  // Not in lists.
  std::optional<ProgressView> progress;
};

// One line of a job's story: a sentence, or a mark of the time line.
struct StoryLine {
  AttemptNumber attempt = 0;
  NodeName node;             // Empty: the coordinator's own.
  std::int64_t wall_us = 0;  // When the coordinator heard of it.
  std::string text;
  std::optional<JobMark> mark;
};

using WatchNews = std::variant<JobView, ProgressView, StoryLine>;

// A piece of one rank's output, in order within its file.
struct LogPiece {
  AttemptNumber attempt = 0;
  std::uint32_t rank = 0;
  bool is_stderr = false;
  std::uint64_t offset = 0;
  std::string data;
  NodeName node;
  std::vector<LogTime> times;  // When the data was written, from which offset on.
  // Without data: these lines before `offset` were left out.
  bool skip = false;
  std::uint64_t skipped_lines = 0;
};

struct ExecEnd {
  std::int32_t exit = 0;  // As a shell says it.
  std::string failure;    // Why it never began.
};

struct ClusterNode {
  NodeName name;
  std::vector<std::string> addresses;
  std::string block, leaf, spine;
  std::uint32_t slots = 0, used = 0;
  bool lost = false;
  std::string drained;  // The reason; empty: takes work.
  std::string boot_id;
  std::vector<JobId> jobs;
};

struct ClusterInfo {
  std::string cluster, version;
  std::uint64_t life = 0;  // Of the coordinator.
  std::uint32_t nodes = 0, nodes_up = 0, jobs_pending = 0, jobs_running = 0;
  std::string identity;  // Whom the coordinator takes the caller for.
};

}  // namespace muster
