// Process groups over MPI, and MPI's life in this process.
//
// Waits poll MPI, first fast, then with short sleeps: ranks may outnumber cores, and MPI's own
// blocking calls burn theirs.  MPI is used by one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/comm/process_group.h"

namespace muster {

// MPI from Init to Finalize.  A program makes one, before any group.
class MpiSession {
 public:
  // `expected_size`: what the launcher said.  Another size is kInternal, with the likely cause; MPI
  // is then left as it is, since finishing it might wait for ranks that are not there.
  static Result<std::unique_ptr<MpiSession>> Start(int expected_size);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // All ranks.
  std::unique_ptr<ProcessGroup> World(Duration timeout = kPeerTimeout);

  // Which ranks share memory, as MPI finds out: for launchers that do not say.  Collective.  Nodes
  // are numbered by their lowest rank.
  struct Place {
    std::int32_t node = 0;
    std::int32_t local_rank = 0;
  };
  Result<Place> FindPlace();

 private:
  MpiSession() = default;
};

}  // namespace muster
