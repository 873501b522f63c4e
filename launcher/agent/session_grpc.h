// The agent's end of the Session stream: keeps one open, whatever happens to the coordinator.
//
// Promises:
//   - it reconnects for ever, 50 ms to 1 s apart, and reads the address anew each time;
//   - heartbeats leave from a thread of its own, so a busy agent is not taken for a dead one;
//   - no status is lost: a new stream begins with Register(), which lists every jobd; statuses and
//     progress that wait are replaced by newer ones of the same job, so the queue is bounded by the
//     number of jobs; marks and notes wait over a lost connection, the newest 1,024.
// Orders and log wishes may come while callbacks run; callbacks are made by gRPC's threads and the
// session's own, one at a time, and should only push into the agent's queue.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/agent/exec_posix.h"
#include "launcher/agent/logs.h"
#include "launcher/agent/registration.h"
#include "runtime/base/clock.h"
#include "runtime/base/statuses.h"
#include "runtime/base/tls_openssl.h"

namespace muster {

// Names one stream; the next one has a higher number.
using SessionNumber = std::uint64_t;

struct SessionConfig {
  std::string address;       // "host:port" of the coordinator, or ...
  std::string address_file;  // ... the file that says it, read before each attempt.
  Credentials credentials;   // The node's.

  // The stream stands; nothing is sent on it until Register(number, ...).
  std::function<void(SessionNumber)> opened;
  // It broke, or could not be opened (said once until the next `opened`).
  std::function<void(const Status&)> closed;
  std::function<void(Incarnation, Order)> order;
  // Called for each wish for logs, and read from until it has no more (or for ever, if followed).
  std::function<std::unique_ptr<LogSource>(const LogWish&)> open_logs;
  // To be answered with RunExec().
  std::function<void(ExecWish)> exec;
};

class AgentSession {
 public:
  // Starts to connect at once.
  explicit AgentSession(SessionConfig config);
  // Ends the stream; no callback runs afterwards.  Not from a callback.
  ~AgentSession();
  AgentSession(const AgentSession&) = delete;
  AgentSession& operator=(const AgentSession&) = delete;

  // The answer to `opened`.  For a stream that is gone it does nothing: another `opened` follows.
  void Register(SessionNumber number, const Registration& registration);

  // A status before Register() is dropped, since Register() is about to say it, and newer.
  void Send(const Report& report);

  // Runs it (or carries the input) at the job daemon behind `door` and tells the coordinator; on
  // threads of its own, until that ends, nobody waits for it any more, or the stream breaks.
  void RunExec(const ExecWish& wish, const Result<ExecDoorPlace>& door);

 private:
  class Link;
  std::unique_ptr<Link> link_;
};

}  // namespace muster
