// Process groups over MPI (Open MPI 4.1 and 5), and MPI's life in this process.
//
// All bytes go by MPI's sends and recvs, in rounds of our own (schedule.h): reductions have our
// order, not that of MPI's algorithms.  Beside each collective the hashes of the ranks' calls go
// round (16 bytes in log2(ranks) rounds), so that ranks that disagree are told, and nothing hangs.
//
// Waits poll MPI, first fast, then with short sleeps: ranks may outnumber cores, and MPI's own
// blocking calls burn theirs.  What was started moves on without the caller, on a thread that
// begins with the first start; see MpiLock (mpi_lock_threads.h) for programs that call MPI, too.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/comm/process_group.h"

namespace muster {

class MpiEngine;

// MPI from Init to Finalize.  A program makes one, before any group.
class MpiSession {
 public:
  // `expected_size`: what the launcher said.  Another size is kInternal, with the likely cause; MPI
  // is then left as it is, since finishing it might wait for ranks that are not there.
  static Result<std::unique_ptr<MpiSession>> Start(int expected_size);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // All ranks.  Several such groups would take each other's messages: make one, and split it.
  std::unique_ptr<ProcessGroup> World(Duration timeout = kPeerTimeout);

  // Which ranks share memory, as MPI finds out: for launchers that do not say.  Collective.  Nodes
  // are numbered by their lowest rank.
  struct Place {
    std::int32_t node = 0;
    std::int32_t local_rank = 0;
  };
  Result<Place> FindPlace();

  // All ranks, "hybrid": those of a node through memory that they share, the nodes over MPI.
  // Collective.  `node`: where this rank runs.
  // Reductions go over the ranks of each node in their order, then over the nodes.  Across nodes
  // all_reduce and barrier are made of both; the other verbs go over MPI alone.
  // kExhausted: the node has no memory to share.
  Result<std::unique_ptr<ProcessGroup>> Hybrid(int node, Duration timeout = kPeerTimeout);

  MpiEngine& engine() { return *engine_; }

 private:
  explicit MpiSession(std::unique_ptr<MpiEngine> engine);

  std::unique_ptr<MpiEngine> engine_;
};

}  // namespace muster
