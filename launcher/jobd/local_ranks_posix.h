// The ranks of an attempt on this node, as processes: forked, signalled, killed, reaped.
//
// Nothing here waits; the loop's thread only.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/log_drain_posix.h"
#include "launcher/jobd/out_of_memory_posix.h"
#include "launcher/jobd/rank_input_posix.h"
#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/status_file.h"

namespace muster {

class LocalRanks {
 public:
  struct Exit {
    std::uint32_t local_rank = 0;
    Cause cause;         // kNone: left with 0.
    bool by_us = false;  // Kill() ended it.
  };

  // `logs`: ClusterPaths::Logs().  `group`: the job's, or empty; the ranks of each attempt get
  // one of their own below it.
  LocalRanks(NodeName node, std::string logs, std::string group);
  ~LocalRanks();
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

  // Before any rank of the attempt is started anywhere: the program and the working directory are
  // there, and the log files are open, if their disk has room.  A cause says why not.
  Cause Prepare(const StartAttempt& order);

  // Forks all of them.  environments, links (what becomes kInheritedFd) and cpus (what it may run
  // on; empty: as jobd) by local rank.  Returns those that could not be forked.
  std::vector<Exit> Fork(const StartAttempt& order,
                         const std::vector<std::vector<std::string>>& environments,
                         const std::vector<UniqueFd>& links,
                         const std::vector<std::vector<std::uint32_t>>& cpus);

  // To each rank's process group.
  void Signal(int number);
  void SignalOne(std::uint32_t local_rank, int number);
  // To the rank alone, not to what it started.
  void SignalProcess(std::uint32_t local_rank, int number);
  // Whether the rank has a handler of its own for the signal.
  bool Catches(std::uint32_t local_rank, int number) const;
  // SIGKILL, and to all that descends from them: in rounds, until Gone().
  void Kill();

  // What runs `argv` as the rank runs: in its group, environment, folder and limits.
  Result<Spawn> Beside(std::uint32_t local_rank, std::vector<std::string> argv) const;

  // What rank 0 reads, if that is here and the order asked for it; nullptr: /dev/null.
  RankInput* input() { return input_ ? &*input_ : nullptr; }

  // A child ended; nothing when it was no rank.  `peak_bytes`: the most memory that it had.
  std::optional<Exit> Reaped(pid_t pid, int wait_status, std::uint64_t peak_bytes);
  // Whether the rank has said that a peer went first.
  bool BlamesPeer(std::uint32_t local_rank);

  std::size_t alive() const;
  // No rank is alive, and what they wrote is in the logs, or their disk hangs; begin with the last
  // exit, then look again and again.
  bool LogsWhole();
  // Neither a rank nor anything that a rank started is alive, and the logs are whole, or their disk
  // hangs.  Kills what it finds, except `ours`.
  bool Gone(const std::set<pid_t>& ours);

  // Of the attempt that was forked last.
  std::vector<RankRecord> Records() const;
  pid_t PidOf(std::uint32_t local_rank) const;  // 0: not alive.

  // The attempt is over: closes what it left open.
  void Forget();
  // The groups that are empty.
  void RemoveGroups();

  // What people should know: of the logs, and of limits that are cut.
  Inbox<std::string>& log_news() { return drain_.news(); }

 private:
  struct Rank {
    RankRecord record;
    UniqueFd out, err;  // Ends of its pipes, until it is forked; with a terminal none.
    std::string err_path;
  };

  Cause PrepareRank(const StartAttempt& order, std::uint32_t local_rank);
  bool EndAllBut(const std::set<pid_t>& ours);
  Cause CauseOf(const Rank& rank, std::uint32_t local_rank);
  Cause CauseOf(const Rank& rank, std::uint32_t local_rank, std::uint64_t peak_bytes);
  // Of its stderr, to be shown.
  std::string LastWordsOf(const Rank& rank);
  Cause OurKill(const Rank& rank) const;
  Cause ExecCause(const ExecFailure& failure) const;
  void ReadReports();
  bool Settled(std::uint64_t begun);
  void MakeRanksGroup(AttemptNumber attempt);

  const NodeName node_;
  const std::string logs_;
  const std::string group_;
  // A new one for each attempt: Linux 6.18 kills what is born by clone3 into a group that was
  // killed before.  Those of old attempts stay until they are empty.
  std::vector<std::string> groups_;  // The last one is the attempt's.
  std::map<std::uint32_t, Rank> ranks_;
  std::map<std::uint32_t, ExecFailure> failures_;
  std::optional<RankInput> input_;
  UniqueFd reports_;
  std::string program_, workdir_;
  std::int64_t umask_ = -1;
  std::vector<ResourceLimit> limits_;
  std::set<std::string> told_;  // Of limits that are cut.
  OutOfMemoryWatch memory_;
  bool killed_ = false;
  bool drained_ = true;  // No rank was forked since the pipes were closed.
  // What was begun of the drain; and how many looks at it are left, instead of a time: a machine
  // that stood still has not waited.
  std::uint64_t settling_ = 0, forgetting_ = 0;
  int looks_left_ = 0;
  LogDrain drain_;
};

// Of a file's end, what is to be shown (last_words.h).
std::string LastWordsIn(const std::string& path);

}  // namespace muster
