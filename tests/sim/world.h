// A whole cluster in one thread: the real cores (coordinator, agents, job daemons), and a model of
// everything around them (processes, disks, network, clocks, ranks, a store, people).
//
// A World is one history.  After every event the promises of design.md section 4 are checked; the
// first that breaks ends the history with a sentence.
#pragma once

#include <cstdarg>
#include <optional>

#include "launcher/agent/agent.h"
#include "launcher/coordinator/decide.h"
#include "launcher/coordinator/lease.h"
#include "launcher/jobd/jobd.h"
#include "tests/sim/kernel.h"

namespace muster::sim {

// How often each kind of history was reached.
using Counts = std::map<std::string, std::uint64_t>;

inline constexpr Micros kLostAfter = 2500 * kMilli;
inline constexpr Micros kHeartbeat = 500 * kMilli;
inline constexpr Micros kSlowestKill = 400 * kMilli;
// The fence time by the slowest clock, and a busy host's delay.
inline constexpr Micros kFenceAtMost = 2500 * kMilli * 101 / 100 + 6 * kMilli;
inline constexpr Micros kForgivenAtMost = kFenceAtMost / kForgivenPerFence;
// How long people wait in a quiet world before they end what hangs.
inline constexpr Micros kPatience = 25 * kSecond;

class World;

// ---- a store (D6): claims and commits, whose links are atomic -----------------------------------

struct Commit {
  std::uint64_t generation = 0, step = 0;
  auto operator<=>(const Commit&) const = default;
};

struct Store {
  std::set<std::uint64_t> claims;
  std::map<Commit, Commit> commits;  // Each with its parent.
  Commit acknowledged;               // The newest that live ranks were told of.
  Commit Newest() const;
  std::uint64_t Highest() const;
  bool DescendsFrom(Commit commit, Commit ancestor) const;
};

// ---- processes on a node ------------------------------------------------------------------------

struct Rank {
  bool alive = false;
  bool left_well = false;
};

struct Peer {
  std::shared_ptr<Connection> connection;
  int end = 0;
  AttemptNumber attempt = 0;
  Instance other = 0;
};

// The seeds after it have elastic jobs, too.
inline constexpr std::uint64_t kLastRigidSeed = 10000;
// In the worlds after it all machines are paused now and then, as virtual ones are.
inline constexpr std::uint64_t kLastSteadySeed = 20000;
// In those after it all jobs go on with one run.
inline constexpr std::uint64_t kLastOwnRunsSeed = 50000;
inline constexpr char kSharedRun[] = "shared";

struct Daemon {
  Instance instance = 0;
  JobId job = 0;
  std::size_t node = 0;
  JobdState state;
  Micros up_at = 0;  // When it begins to listen.
  bool dying = false;
  std::map<std::uint32_t, Rank> ranks;
  AttemptNumber ranks_of = 0;
  std::map<std::uint32_t, Peer> peers;  // As head by host index; as follower 0.
  Micros timer_at = -1;                 // Of the newest timer; older ones are void.
  std::uint64_t connecting = 0;
  std::uint64_t mover = 0;  // Names what the mover does; a new attempt voids it.
  Commit newest;            // That the ranks have or were restored from.
};

struct Agent {
  bool alive = false;
  std::uint64_t life = 0;
  AgentState state;
  std::shared_ptr<Connection> session;
  bool opened = false;  // The coordinator's first word has come.
  std::uint64_t stream = 0;
  Micros socket_free = 0,
         said_free = 0;  // When the sockets to daemons have carried what they hold.
};

struct SimNode {
  std::size_t index = 0;
  NodeName name;
  std::uint32_t slots = 0;
  std::string block;
  bool up = true, gone_for_good = false;
  std::uint64_t boots = 1;
  HostClock clock;
  Agent agent;
  std::map<JobId, Instance> daemons;  // Live processes; at most one a job.
  std::set<JobId> records;            // On the disk.
  std::map<JobId, JobdStatus> status_files;
  std::map<std::uint32_t, JobId> slot_owner;  // Of live ranks.
};

// What really happens to one attempt, as nobody in the world can see it.
struct AttemptTruth {
  std::size_t hosts = 0;
  std::set<std::uint32_t> prepared;
  std::optional<Micros> first_left;
  Micros paused_before = 0;  // In all, when it did.
  std::int64_t alive = 0;
  std::int64_t well = 0;  // Ranks that left with 0.
  std::int64_t all = 0;
  bool asked = false;  // Some were asked to stop while they ran.
};

struct SimJob {
  std::string key;
  JobSpec spec;
  std::optional<JobId> acknowledged;
  bool holder_died = false, cancelled = false, refused = false;
  std::map<AttemptNumber, AttemptTruth> attempts;
  Micros work = 0;
  int badness = 0;  // In percent, that a rank does not end well.
};

// Node processes: agents, daemons, ranks.
class Nodes {
 public:
  explicit Nodes(World& world) : w_(world) {}

  void StartAgent(SimNode& node);
  void KillAgent(SimNode& node);
  void KillDaemon(Instance instance);
  void PowerOff(SimNode& node);
  void PowerOn(SimNode& node);
  void BreakSession(SimNode& node);
  void BreakPeers(Instance instance);
  void FailRank(Instance instance);
  void Order(SimNode& node, Incarnation incarnation, const muster::Order& order);
  std::vector<Instance> Live() const;
  Daemon* Find(Instance instance);

 private:
  void Connect(std::size_t node, std::uint64_t life);
  void Beat(std::size_t node, std::uint64_t life, const std::shared_ptr<Connection>& session);
  void Tell(SimNode& node, const AgentEvent& event);
  void TellLater(SimNode& node, Micros delay, const AgentEvent& event);
  void ToDaemon(SimNode& node, Instance instance, const muster::Order& order);
  void Contain(std::size_t index, std::uint64_t life, JobId job);
  Micros SocketDelay(SimNode& node);
  JobdStatus StatusFile(const SimNode& node, JobId job) const;
  void Do(SimNode& node, const SpawnJobd& effect);
  void Do(SimNode& node, const AttachJobd& effect);
  void Do(SimNode& node, const TellJobd& effect);
  void Do(SimNode& node, const ContainJob& effect);
  void Do(SimNode& node, const SweepJob& effect);
  void Do(SimNode& node, const RegisterWith& effect);
  void Do(SimNode& node, const SendStatus& effect);

  void Tell(Daemon& daemon, const JobdEvent& event);
  void TellLater(Daemon& daemon, Micros delay, JobdEvent event);
  void Do(Daemon& daemon, const ConnectToHead& effect);
  void Do(Daemon& daemon, const PrepareRanks& effect);
  void Do(Daemon& daemon, const ForkRanks& effect);
  void Do(Daemon& daemon, const AskRanks& effect);
  void Do(Daemon& daemon, const SignalAll& effect);
  void Do(Daemon& daemon, const KillRanks& effect);
  void Do(Daemon& daemon, const CleanUp& effect);
  void Do(Daemon& daemon, const SendPeer& effect);
  void Do(Daemon& daemon, const TellAgent& effect);
  void Do(Daemon& daemon, const SettleMover& effect);
  void Do(Daemon& daemon, const EndProcess& effect);

  void TryHead(Instance instance, std::uint64_t connecting, std::uint16_t port, Micros until);
  void Welcome(Instance instance, const std::shared_ptr<Connection>& connection,
               std::uint32_t index, AttemptNumber attempt, Instance from);
  void SetTimer(Daemon& daemon);
  void LiveOut(Daemon& daemon, std::uint32_t rank);
  void EndRank(Instance instance, AttemptNumber attempt, std::uint32_t rank, const Cause& cause,
               bool by_us = false);
  void RemoveRank(Daemon& daemon, std::uint32_t rank, bool well);
  void ExitDaemon(Instance instance, bool silent);
  void BuryDaemon(Instance instance);
  void NoteLeaving(const Daemon& daemon);
  void Claim(Instance instance, std::uint64_t mover, std::uint64_t seen);
  void Save(Instance instance, std::uint64_t mover, std::uint64_t generation);

  World& w_;
  std::map<Instance, Daemon> daemons_;
  std::map<std::pair<std::size_t, std::uint16_t>, Instance> listening_;
  std::uint64_t next_ = 1;
};

// The coordinator's process: the real core, a journal with group commit, and its streams.
class Coordinator {
 public:
  explicit Coordinator(World& world) : w_(world) {}

  void Start();
  void Crash();
  bool alive() const { return alive_; }
  const State& state() const { return state_; }

  // From agents, by their streams.  Accepting gives the stream its number.
  std::uint64_t Accept(std::size_t node, const std::shared_ptr<Connection>& connection);
  void Register(std::size_t node, std::uint64_t stream, const AgentRegistered& event);
  void Report(std::size_t node, std::uint64_t stream, Incarnation incarnation,
              const JobdStatus& status);
  void Heartbeat(std::size_t node, std::uint64_t stream);
  void StreamClosed(std::size_t node, std::uint64_t stream);

  // From people.  The answer comes when it is durable, or never.
  using Answer = std::function<void(const Decision&)>;
  void Ask(const Event& event, Answer answer);

 private:
  struct Batch {
    std::vector<Fact> facts;
    std::vector<Effect> effects;
    std::function<void()> answer;
  };
  void Look();
  void Feed(const Event& event, Answer answer = {});
  void CheckDecision(const Event& event, const State& before, const Decision& decision,
                     TimePoint now);
  void Observe(const Event& event, const State& before, const Decision& decision);
  void Commit();
  void Committed(std::size_t batches);
  void Send(const SendOrder& order);
  void Wake();
  bool Overtaken(std::size_t node, std::uint64_t stream);
  TimePoint Now() const;

  World& w_;
  bool alive_ = false;
  std::uint64_t life_ = 0;
  HostClock clock_;
  State state_;
  Leases leases_{std::chrono::microseconds(kLostAfter)};
  StallWatch watch_{std::chrono::microseconds(kLostAfter) / kForgivenPerLease};
  std::vector<Fact> journal_;
  State durable_, snapshot_;
  std::size_t snapshot_at_ = 0;
  std::deque<Batch> queued_;
  bool committing_ = false;
  bool stalls_ = false;  // The next write finds a slow disk.
  std::uint64_t epoch_ = 0;
  std::uint64_t wake_ = 0;
  std::uint64_t next_stream_ = 1;
  std::map<std::size_t, std::uint64_t> current_;
  std::map<std::size_t, std::uint64_t> newest_;  // That has registered, open or not.
  std::map<std::uint64_t, std::shared_ptr<Connection>> streams_;
};

// ---- the whole ----------------------------------------------------------------------------------

class World {
 public:
  World(std::uint64_t seed, bool trace, Counts& counts);

  // Nothing, or the promise that was broken.
  std::string Run();

  // Called by the parts.
  void Break(const std::string& promise);
  void Count(const char* what) { ++counts_[what]; }
  bool tracing() const { return trace_; }
  void Trace(const char* format, ...) __attribute__((format(printf, 2, 3)));
  SimJob* JobOf(JobId job);
  AttemptTruth* TruthOf(JobId job, AttemptNumber attempt);
  Store& StoreOf(JobId job);  // Of its run.
  const SimNode* NodeNamed(const NodeName& name) const;
  void NoteAccepted(JobId job, const std::string& key);
  bool Ambush(const NodeName& name);
  Micros Dawdle(SimNode& node);
  void Spite(const SimNode& node, const Order& order);
  void NoteLeft(const JobdState& state);
  Micros FenceAtMost(const AttemptTruth& truth) const;
  void CheckFenced(JobId job, AttemptNumber attempt);
  void RestartCoordinator();
  void CheckOneAttempt(JobId job);
  void CheckFork(const Daemon& daemon);
  void CheckSlots(const State& state);
  void CheckNotAsked(const Job& job);

  std::uint64_t seed;
  Random random;
  Timeline timeline;
  std::vector<SimNode> nodes;
  Network network;
  std::map<std::string, SimJob> jobs;  // By submission key.
  Nodes processes;
  Coordinator coordinator;
  bool faults_allowed = true;

 private:
  void MakeNodes();
  void MakeJobs();
  void PlanFaults(Micros until);
  void DoFault();
  void Pause();
  void Drain(std::size_t index);
  void Resume(std::size_t index);
  void Partition();
  void Conspire(Instance victim);
  void Cut(HostId a, HostId b, Micros from, Micros until);
  void Submit(const std::string& key, int tries);
  void Submit2(const std::string& key);
  void CancelJob(const std::string& key, CauseKind kind, int tries);
  void Quieten();
  void Operate();
  void LookAfter(const Job& job);
  bool MustEndByItself(const Job& job);
  bool AllEnded();
  std::string Unended();
  std::string Settled();
  void CheckAcknowledged();

  bool trace_;
  Counts& counts_;
  std::string broken_;
  std::map<JobId, std::string> keys_;
  std::map<std::string, Store> stores_;
  Micros quiet_since_ = 0;
  Micros paused_ = 0;  // In all.
};

}  // namespace muster::sim
