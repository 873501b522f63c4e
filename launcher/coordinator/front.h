// Everything of the coordinator that is on the loop's thread: the core's state, what stands beside
// it, and the gate that lets nothing out before it is durable.
//
// Promises:
//   - whatever leaves here (orders, answers, what watchers see) leaves in the order in which it was
//     decided, and after every fact decided before it is on disk;
//   - after the journal failed nothing is acknowledged any more: whoever waits is told so.
// No clock, no threads, no gRPC; the loop (loop_threads.h) calls it with the time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launcher/coordinator/audience.h"
#include "launcher/coordinator/config.h"
#include "launcher/coordinator/decide.h"
#include "launcher/coordinator/exec_desk.h"
#include "launcher/coordinator/holds.h"
#include "launcher/coordinator/input_desk.h"
#include "launcher/coordinator/journal.h"
#include "launcher/coordinator/lease.h"
#include "launcher/coordinator/log_desk.h"
#include "launcher/coordinator/news.h"
#include "launcher/coordinator/story.h"
#include "runtime/base/stall.h"

namespace muster {

struct Moment {
  TimePoint now;
  WallTime wall;
};

Status NoSuchJob(JobId job);

class Front {
 public:
  // `tell` hears of every fact, for the log.
  Front(const CoordinatorConfig& config, Journal& journal, std::function<void(const Told&)> tell);

  // ---- the life of the process ----
  void Begin(LoadedState loaded, const Moment& at);
  void JournalMoved(const JournalProgress& progress);
  void Tick(const Moment& at);
  TimePoint NextDeadline() const;
  // Nobody is answered any more but with `status`; all streams end.
  void Close(const Status& status);
  // Every job is to end, since the keeper is dead.
  void GiveUp(const Moment& at);
  bool AllOver() const;  // No node that is heard of has a job, or traces of one.
  bool everything_durable() const { return durable_ == appended_; }
  const State& state() const { return state_; }
  std::optional<JobProgress> progress(JobId job) const { return news_.progress(job); }
  const Status& failure() const { return failure_; }

  // ---- calls ----
  using Reply = std::function<void(const Status&, JobId accepted)>;
  void Take(const Event& event, const Moment& at, Reply reply = {});
  // Runs once all that was decided until now is durable (ok), or never will be.
  void Leave(std::function<void(const Status&)> leave);
  Result<JobPicture> Picture(JobId job) const;

  // ---- agents ----
  // Streams of all nodes are numbered in the order of their acceptance.
  void Register(std::uint64_t number, std::shared_ptr<AgentStream> stream, NodeRegistered node,
                std::vector<JobdStatus> jobds, const Moment& at);
  void Heard(const NodeName& node, std::uint64_t number, const Moment& at);
  void Reported(const NodeName& node, std::uint64_t number, const Report& report, const Moment& at);
  void AgentClosed(const NodeName& node, std::uint64_t number);

  // ---- listeners ----
  void Watch(JobId job, ListenerId id, std::uint64_t life, std::uint64_t after,
             std::shared_ptr<Watcher> watcher);
  void Unwatch(JobId job, ListenerId id) { news_.Unsubscribe(job, id); }
  void Hold(JobId job, ListenerId id, std::shared_ptr<Holder> holder);
  void Release(JobId job, ListenerId id, const Moment& at) { holds_.Release(job, id, at.now); }
  void ReadLogs(ListenerId id, LogsAsked asked, std::shared_ptr<LogReader> reader);
  void CloseLogs(ListenerId id) { Carry(logs_.Close(id)); }
  void LogsPushed(std::uint64_t want, bool ok) { Carry(logs_.Pushed(state_, want, ok)); }
  // `want`: without its attempt, which is the one that runs.
  void Exec(ExecWant want, std::shared_ptr<ExecCaller> caller);
  void CloseExec(std::uint64_t id) { execs_.Close(id); }
  void OfferInput(std::uint64_t id, JobId job, std::shared_ptr<InputGiver> giver);
  void InputAttached(std::uint64_t id) { inputs_.Attached(id); }
  void CloseInput(std::uint64_t id) { inputs_.Close(id); }

 private:
  struct Agent {
    std::shared_ptr<AgentStream> stream;  // Null: gone.
    std::uint64_t number = 0;
    Incarnation incarnation = 0;
  };

  void Record(const std::vector<Fact>& facts, const Moment& at);
  void ShowChanges(const std::vector<Fact>& facts, const Moment& at);
  void ShowJob(JobId job);
  void ShowStory(JobId job, Story story);
  void Carry(const std::vector<LogAction>& actions);
  void TendInputs();
  void GiveOrder(const SendOrder& order);
  void Look(const Moment& at);
  bool Current(const NodeName& node, std::uint64_t number) const;
  bool RunsOn(const NodeName& node, JobId job, AttemptNumber attempt) const;
  NodeRegistered Completed(NodeRegistered node) const;

  const CoordinatorConfig& config_;
  Journal& journal_;
  const std::function<void(const Told&)> tell_;
  const Limits limits_;
  State state_;
  StallWatch stalls_;
  Leases leases_;
  Holds holds_;
  News news_;
  LogDesk logs_;
  ExecDesk execs_;
  InputDesk inputs_;
  std::map<NodeName, Agent> agents_;

  struct Held {
    std::uint64_t after = 0;
    std::function<void(const Status&)> leave;
  };
  std::deque<Held> gate_;
  std::uint64_t appended_ = 0, durable_ = 0;
  std::uint64_t facts_since_snapshot_ = 0;
  Status failure_;
};

}  // namespace muster
