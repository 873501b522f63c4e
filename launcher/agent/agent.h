// One node's truth, as a pure state machine: which jobds there are, and what becomes of orders.
//
// The rim (agent_posix, session_grpc) feeds it events and carries out its effects.
//
// Promises:
//   - an order for another incarnation is dropped (here, in one place);
//   - at most one live jobd per job: a new one starts only after the old one was contained;
//   - a jobd that died is reported kDead only after containment found nothing of the job alive;
//   - an agent that registers lists every jobd it knows of, so its own death is no event for a job.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/statuses.h"

namespace muster {

// ---- what happened ------------------------------------------------------------------------------

struct AgentBegan {  // `found`: jobs whose record lies in the state folder, from an earlier life.
  std::vector<JobId> found;
};
// `incarnation`: drawn anew for each session, so that what was ordered in an earlier one, and is
// still under way or not yet durable, dies with it: registering is what brings orders up to date.
struct SessionOpened {
  Incarnation incarnation = 0;
};
struct SessionClosed {};
struct OrderArrived {
  Incarnation incarnation = 0;
  Order order;
};
struct JobdConnected {  // The unix socket to a jobd stands; its status follows.
  JobId job = 0;
};
struct JobdSaid {
  JobdStatus status;
};
struct JobdExited {  // Seen by pidfd, or never came up in time.
  JobId job = 0;
  JobdStatus last;  // Its status file (D3); job 0: it wrote none.
};
struct JobContained {  // Nothing of the job is alive on this node.
  JobId job = 0;
};
struct JobSwept {  // Its record and traces (but not its logs) are removed.
  JobId job = 0;
};
using AgentEvent = std::variant<AgentBegan, SessionOpened, SessionClosed, OrderArrived,
                                JobdConnected, JobdSaid, JobdExited, JobContained, JobSwept>;

// ---- what must be done --------------------------------------------------------------------------

struct SpawnJobd {  // Write the record, start `muster jobd` as the owner, then hand it the order.
  StartAttempt order;
};
struct AttachJobd {  // Connect to a jobd of an earlier life of the agent, or find it dead.
  JobId job = 0;
};
struct TellJobd {
  JobId job = 0;
  Order order;
};
struct ContainJob {  // Kill all of it: cgroup, else scan for the cookie.  Answer: JobContained.
  JobId job = 0;
};
struct SweepJob {  // Answer: JobSwept.
  JobId job = 0;
};
struct RegisterWith {  // First message of a session.
  std::vector<JobdStatus> jobds;
};
struct SendStatus {
  JobdStatus status;
};
using AgentEffect =
    std::variant<SpawnJobd, AttachJobd, TellJobd, ContainJob, SweepJob, RegisterWith, SendStatus>;

// ---- state --------------------------------------------------------------------------------------

enum class JobdLife : std::uint8_t {
  kAttaching,  // Found in the state folder; not yet heard.
  kSpawned,    // Forked; not yet heard.
  kAlive,
  kContaining,  // It died; what it left is being killed.
  kDead,
  kSweeping,  // After EndJob.
};

struct LocalJob {
  JobdLife life = JobdLife::kSpawned;
  JobdStatus status;
  std::optional<StartAttempt> next;  // To be started once the old jobd is contained.
  std::vector<Order> waiting;        // Orders for a jobd that is not connected yet.
  bool ending = false;               // EndJob came.
  bool operator==(const LocalJob&) const = default;
};

struct AgentState {
  Incarnation incarnation = 0;
  bool session = false;
  // Until every jobd of an earlier life is heard or found dead, the agent does not register: what
  // it does not list does not exist.
  bool registered = false;
  std::map<JobId, LocalJob> jobs;
  bool operator==(const AgentState&) const = default;
};

std::vector<AgentEffect> Step(AgentState& state, const AgentEvent& event);

}  // namespace muster
