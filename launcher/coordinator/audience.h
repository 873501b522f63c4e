// Who listens to the coordinator: agents, watchers, holders and readers of logs.
//
// The front (front.h) speaks to them on the loop's thread; each is a stream of the rim, or a fake.
// None of these calls blocks or fails: a stream that is slow merges what it may and bounds the
// rest.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/coordinator/state.h"
#include "runtime/base/log_times.h"
#include "runtime/base/result.h"

namespace muster {

// ---- what they are told -------------------------------------------------------------------------

struct JobPicture {
  Job job;
  std::vector<std::string> why;
  std::optional<JobProgress> progress;
  std::map<NodeName, Seating> seating;  // Of its newest attempt.
};

// One line of a job's story: a sentence or a mark.  Numbered within a life of the coordinator.
struct Story {
  std::uint64_t life = 0, number = 0;
  AttemptNumber attempt = 0;
  NodeName node;
  WallTime at;
  std::string text;
  std::optional<JobMark> mark;
};

struct LogOffset {
  AttemptNumber attempt = 0;
  std::uint32_t rank = 0;
  bool is_stderr = false;
  std::uint64_t offset = 0;
};

// A wish for what one node has of a job's logs.
struct LogWant {
  std::uint64_t id = 0;
  JobId job = 0;
  AttemptNumber first_attempt = 0, last_attempt = 0;
  std::uint32_t first_rank = 0, last_rank = 0;  // Those on the node.
  std::vector<std::uint32_t> ranks;             // Of them these; empty: all.
  std::vector<LogOffset> from;
  bool follow = false;  // Until EnoughLogs.
  LogSelection selection;
};

// A program to be run beside a rank; or its node's flight recorders to be written down.
struct ExecWant {
  std::uint64_t id = 0;
  JobId job = 0;
  AttemptNumber attempt = 0;
  std::uint32_t rank = 0;
  std::vector<std::string> argv;
  bool recorders = false;
};

// Somebody has input for rank 0 of this attempt.
struct InputWant {
  std::uint64_t id = 0;
  JobId job = 0;
  AttemptNumber attempt = 0;
};

// ---- listeners ----------------------------------------------------------------------------------

class AgentStream {
 public:
  virtual ~AgentStream() = default;
  virtual void GiveOrder(Incarnation incarnation, const Order& order) = 0;
  virtual void WantLogs(const LogWant& want) = 0;
  virtual void EnoughLogs(std::uint64_t want) = 0;
  virtual void WantExec(const ExecWant& want) = 0;
  virtual void WantInput(const InputWant& want) = 0;
  virtual void End(const Status& status) = 0;
};

class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void Show(std::shared_ptr<const JobPicture> picture) = 0;
  virtual void Show(const JobProgress& progress) = 0;
  virtual void Show(const Story& story) = 0;
  virtual void End(const Status& status) = 0;
};

class Holder {
 public:
  virtual ~Holder() = default;
  virtual void Held() = 0;
  virtual void End(const Status& status) = 0;
};

class LogReader {
 public:
  virtual ~LogReader() = default;
  // What it has of each file, so that a node is not asked for it again.
  virtual std::vector<LogOffset> Offsets() const = 0;
  // The bytes with which this node answers this want are for it.
  virtual void Expect(std::uint64_t want, const NodeName& node) = 0;
  virtual void End(const Status& status) = 0;
};

class ExecCaller {
 public:
  virtual ~ExecCaller() = default;
  // What this node says of the program with this id is for it.
  virtual void Expect(std::uint64_t id, const NodeName& node) = 0;
  virtual void End(const Status& status) = 0;
};

class InputGiver {
 public:
  virtual ~InputGiver() = default;
  // It is known here, and waits for rank 0.
  virtual void Offered() = 0;
  // The agent of this node may pull it under this id.
  virtual void Expect(std::uint64_t id, const NodeName& node) = 0;
  virtual void End(const Status& status) = 0;
};

// One listener among all; never reused.
using ListenerId = std::uint64_t;

}  // namespace muster
