// A job daemon for tests of the rank's side: it hands out memory over the link, keeps what ranks
// stage as commits, hears their progress, and kills them.
//
// It plays the daemons of all nodes of a job at once.  mpirun starts the ranks; rank_exec makes
// each of them look as if muster had.  One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/link.h"
#include "tests/fakes/commit_store.h"

namespace muster {

class FakeJobd {
 public:
  struct Shape {
    int nodes = 1;
    int per_node = 1;
  };
  // `folder` is the test's own; sockets and outputs lie there.
  FakeJobd(std::string folder, Shape shape);
  ~FakeJobd();
  FakeJobd(const FakeJobd&) = delete;
  FakeJobd& operator=(const FakeJobd&) = delete;

  // What is done to an attempt, once, `delay` after some rank reported `step`.
  struct Plan {
    enum class Act { kNothing, kKill, kStop };
    Act act = Act::kNothing;
    int rank = 0;  // The victim, or the one that is asked to stop.
    std::uint64_t step = 0;
    Duration delay{};
  };
  struct End {
    int exit_code = 0;
    std::string output;  // Of all ranks.
    std::uint64_t last_step = 0;
    std::vector<std::string> notes;
    bool acted = false;
  };
  // Starts the ranks, serves them, and waits for the last to go.  Attempts count from 0.
  End RunAttempt(const std::vector<std::string>& command, const Plan& plan);

  // What lies in a memory of a node; empty: there is none of that name.
  std::vector<std::byte> MemoryOf(int node, const std::string& name) const;

  // What a lost node does.
  void LoseMemory(int node) { memories_[static_cast<std::size_t>(node)].clear(); }

  // Steps that are committed: every node staged its part.
  std::vector<std::uint64_t> Commits() const { return store_.Steps(); }
  bool refuse_saves = false;  // As a full store does.

 private:
  struct Rank {
    UniqueFd socket;
    pid_t pid = 0;
    int rank = -1;  // Until it said hello.
    std::vector<link::StagedTensor> staged;
    std::string host_state;
  };
  pid_t StartRanks(const std::vector<std::string>& command, const std::string& output);
  void Serve(Rank& rank, End& end);
  void On(Rank& rank, const link::ToJobd& message, End& end);
  void GiveMemory(Rank& rank, const link::MemoryGet& request);
  void Keep(Rank& rank, const link::Staged& staged);
  void GiveManifest(const Rank& rank);
  void GiveBlocks(const Rank& rank, const link::ReadBlocks& read);
  void Act(const Plan& plan, End& end);
  void KillAll();
  void Send(const Rank& rank, const link::ToRank& message, int fd = -1);
  int NodeOf(const Rank& rank) const { return rank.rank / shape_.per_node; }

  const std::string folder_;
  const Shape shape_;
  UniqueFd listener_;
  int attempt_ = 0;
  std::vector<Rank> ranks_;
  std::vector<std::map<std::string, UniqueFd>> memories_;  // By node.
  checkpoint::CommitStore store_;
};

}  // namespace muster
