// The job daemons of this node, as the agent's loop handles them: their processes, connections,
// containment and sweeping.  What happens comes out as AgentEvents.
//
// One thread, the agent's loop: Wait() returns when something happened or a time came.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "launcher/agent/agent.h"
#include "launcher/agent/exec_posix.h"
#include "launcher/agent/jobd_link_posix.h"
#include "launcher/agent/jobd_process_posix.h"
#include "launcher/agent/spare_posix.h"
#include "runtime/base/clock.h"

namespace muster {

class LocalJobds {
 public:
  // `on_event` and `on_report` (what is no status) are called from within the functions below, but
  // never from Spawn() to EndAll(): those only note what to do.
  LocalJobds(JobdHost host, std::function<void(AgentEvent)> on_event,
             std::function<void(const Report&)> on_report);

  // Looks what an earlier life left: kills what has no job or no record of this boot, and returns
  // the rest.
  std::vector<JobId> Find();

  // Keeps a job daemon in reserve for jobs of this owner, from the start.
  void KeepSpare(const Owner& owner);
  // For the end of the agent.
  void RemoveSpare() { spare_.Remove(); }

  // The effects of agent.h.
  void Spawn(const StartAttempt& order);
  void Attach(JobId job);
  void Tell(JobId job, const Order& order);
  void Contain(JobId job);
  void Sweep(JobId job);

  // The descriptors to wait for, and when to call Advance() at the latest.
  struct Interest {
    int fd = -1;
    bool write = false;
  };
  std::vector<Interest> Interests() const;
  TimePoint NextDeadline() const;

  // Does what can be done now: reads, writes, connects, kills, removes.
  void Advance(TimePoint now);

  // SIGKILL to the job daemon; its end is seen as any other.
  void Kill(JobId job);

  std::uint32_t GraceOf(JobId job) const;

  // Where programs are run beside the job's ranks.
  Result<ExecDoorPlace> ExecDoorOf(JobId job) const;

 private:
  static constexpr Duration kFirstPause = std::chrono::milliseconds(1);
  static constexpr Duration kLongestPause = std::chrono::milliseconds(50);
  static constexpr Duration kRoundPause = std::chrono::milliseconds(4);
  static constexpr Duration kLongestRoundPause = std::chrono::milliseconds(500);
  static constexpr Duration kPatience = std::chrono::seconds(30);
  // The next spare: not while a job starts.
  static constexpr Duration kSpareAfterStart = std::chrono::seconds(1);
  static constexpr Duration kSpareAfterEnd = std::chrono::milliseconds(10);

  struct Local {
    std::optional<JobdProcess> process;
    std::optional<JobdRecord> record;
    std::optional<JobdLink> link;
    std::vector<Order> unsent;         // Told before the connection stood.
    std::optional<JobdStatus> failed;  // It could not be started; to be said.
    bool connecting = false;
    bool attached = false;         // Found, not started, by this life of the agent.
    bool connected = false;        // As a spare; to be said.
    Duration pause = kFirstPause;  // Between two tries to connect.
    TimePoint next_try, give_up;
    bool containing = false, sweeping = false;
    Duration round_pause = kRoundPause;
    TimePoint next_round;
  };

  Status SpawnOne(const StartAttempt& order, Local& local, TimePoint now);
  void Adopt(Local& local, JobdProcess process, TimePoint now);
  void CheckExit(JobId job, Local& local);
  void Exited(JobId job, Local& local, JobdStatus last);
  void Connect(JobId job, Local& local, TimePoint now);
  void Talk(JobId job, Local& local, TimePoint now);
  void RunRounds(JobId job, Local& local, TimePoint now);
  void KillOrphans(const std::set<std::string>& known_cookies);
  JobdStatus StatusFromFile(const std::optional<JobdRecord>& record) const;

  const JobdHost host_;
  const std::function<void(AgentEvent)> on_event_;
  const std::function<void(const Report&)> on_report_;
  std::map<JobId, Local> jobs_;
  SpareJobd spare_;
};

}  // namespace muster
