// The jobd's loop: feeds the core with what happens and carries out what it decides.
//
// Holds the parts around the core, each in a file of its own: agent_socket (orders), peers (the
// job's other daemons), pmix_servers, local_ranks (processes), link_services (what ranks ask for),
// checkpoints (the mover), mpi_watch.  One thread.
#pragma once

#include <event2/event.h>

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/agent_socket_event.h"
#include "launcher/jobd/binding.h"
#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/exec_door_event.h"
#include "launcher/jobd/fence_table.h"
#include "launcher/jobd/jobd.h"
#include "launcher/jobd/late_removal_event.h"
#include "launcher/jobd/link_services_event.h"
#include "launcher/jobd/local_ranks_posix.h"
#include "launcher/jobd/mpi_watch_event.h"
#include "launcher/jobd/node_scripts_posix.h"
#include "launcher/jobd/peers_event.h"
#include "launcher/jobd/pmix_servers_event.h"
#include "launcher/jobd/ports_posix.h"
#include "launcher/jobd/rank_environment.h"
#include "launcher/jobd/recorder_dump_posix.h"
#include "runtime/base/jobd_arguments.h"

namespace muster {

class Daemon {
 public:
  Daemon(event_base* base, const JobdArguments& arguments);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Listens; the rest happens in the loop.
  Status Begin();

  // After the loop: ends the children and removes what is the jobd's own.
  void SweepTraces();

 private:
  void ReapAll();
  static void OnChild(evutil_socket_t, short, void* self);
  static void OnDeadline(evutil_socket_t, short, void* self);
  static void OnPoll(evutil_socket_t, short, void* self);
  static void OnSpare(evutil_socket_t, short, void* self);
  static void OnIdle(evutil_socket_t, short, void* self);
  static void OnEpilogMax(evutil_socket_t, short, void* self);
  static void OnLogNews(evutil_socket_t, short, void* self);
  static void OnDumped(evutil_socket_t, short, void* self);

  // The core.
  void Feed(JobdEvent event);
  void Turn(const JobdEvent& event);
  void ArmDeadline();

  // What happened.
  void Attached();
  void Detached();
  void Ordered(const Order& order);
  void Reap();
  void Exited(const LocalRanks::Exit& exit);
  void Poll();
  void Heard(std::uint32_t from, const peer::Message& message);
  void BringFence(std::uint32_t from, const peer::FenceUp& fence);
  void FinishFence(const std::string& key, const std::string& blob);
  void LearnKey(const peer::KvUpdate& update);
  void Registered(const pmix::Registered& registered);
  void RankMet(std::uint32_t rank);
  void MaybePrepared();
  void MaybeMpiUp();
  void Aborted(const pmix::RankAborted& aborted);
  std::uint64_t DumpRecorders();
  Result<Spawn> BesideRank(const ExecAsked& asked) const;
  Result<UniqueFd> InputOfRank0(const ExecAsked& asked);
  // `said`: the end of its stderr, if it ended.
  void RankAlone(std::uint32_t local_rank, const std::string& said);

  // What must be done.
  void Do(const ConnectToHead& effect);
  void Do(const PrepareRanks& effect);
  void Do(const ForkRanks& effect);
  void Do(const AskRanks& effect);
  void Do(const SignalAll& effect);
  void Do(const KillRanks& effect);
  void Do(const CleanUp& effect);
  void Do(const SendPeer& effect);
  void Do(const TellAgent& effect);
  void Do(const SettleMover& effect);
  void Do(const EndProcess& effect);

  void SpreadKey(const std::string& key, const std::string& value);
  void TellMark(Mark mark);
  void SeatRanks();
  bool StartScript(NodeScript script);
  void ScriptEnded(const NodeScripts::End& end);
  Cause MeetHere();
  Meeting MeetingPlace() const;
  std::vector<std::string> EnvironmentOf(std::uint32_t local_rank, const std::string& token,
                                         const Meeting& meeting) const;
  std::string ShmFolder(AttemptNumber attempt) const;
  const StartAttempt& order() const { return *state_.order; }
  bool IsHead() const { return order().host_index == 0; }
  // A message of an attempt that this jobd is in.
  bool InAttempt(AttemptNumber attempt) const;
  bool IsSpare() const { return state_.status.job == 0; }
  std::set<pid_t> Ours() const;

  event_base* const base_;
  const JobdArguments arguments_;
  JobdState state_;
  std::deque<JobdEvent> queue_;
  bool stepping_ = false;
  bool ending_ = false;
  bool had_agent_ = false;
  std::string status_bytes_;  // In the status file.

  // Of the current attempt.
  struct Attempt {
    bool preparing = false;  // LocalPrepared is owed.
    std::optional<std::vector<pmix::RankEnvironment>> pmix;
    std::uint16_t master_port = 0, next_port = 0;
    std::vector<PortLease> leases;  // Of the two, here if this is the head.
    std::uint32_t ranks_here = 1;
    NodeScript prolog, epilog;
    SeatingPlan seating;
    Seating shown;  // The same, for people.
    std::uint32_t gpus = 0;
    std::set<std::uint32_t> met;  // Ranks that met their PMIx server.
    std::uint32_t fences = 0;     // Finished.
    bool mpi_up = false;
    bool killing = false;
    // Held back until the logs are whole and, with `killing`, all that they started is gone.
    // Several: one exit can make us kill and reap the others.
    std::vector<LocalRanks::Exit> last_exits;
  };
  Attempt attempt_;
  std::optional<StartAttempt> forked_;  // Whose ranks were forked last.

  LateRemoval removal_;
  NodeScripts scripts_;
  NodeScript epilog_;  // Of the attempt that ended; due once nothing of it is alive.
  bool end_after_epilog_ = false;
  LocalRanks ranks_;
  AgentSocket agent_;
  Peers peers_;
  PmixServers pmix_;
  LinkServices services_;
  Checkpoints checkpoints_;
  MpiWatch mpi_watch_;
  FenceTable fences_;
  ExecDoor exec_;
  RecorderDump dump_;
  event* const child_;
  event* const deadline_;
  event* const poll_;
  event* const spare_;
  event* const idle_;
  event* const epilog_max_;
  event* const log_news_;
  event* const dumped_;
};

}  // namespace muster
