// Process groups whose ranks are threads of one process: for tests and for `--threads N`.
//
// A Rendezvous is shared by the ranks and outlives their groups.  Collectives run through memory of
// the process as those of a node do (node_exchange_posix.h); a message waits in a mailbox, so that
// a send has ended when it is started.
#pragma once

#include <memory>

#include "runtime/comm/process_group.h"

namespace muster {

class ThreadsRoom;  // What the ranks of one group share.

// Where the ranks of a group meet.  Any thread.
class ThreadsRendezvous {
 public:
  explicit ThreadsRendezvous(int world_size);
  ~ThreadsRendezvous();
  ThreadsRendezvous(const ThreadsRendezvous&) = delete;
  ThreadsRendezvous& operator=(const ThreadsRendezvous&) = delete;

  int world_size() const;
  const std::shared_ptr<ThreadsRoom>& room() const { return room_; }

 private:
  const std::shared_ptr<ThreadsRoom> room_;
};

// Of one rank; its own thread uses it.
std::unique_ptr<ProcessGroup> MakeThreadsGroup(const ThreadsRendezvous& rendezvous, int rank,
                                               Duration timeout = kPeerTimeout);
std::unique_ptr<Backend> MakeThreadsBackend(const ThreadsRendezvous& rendezvous, int rank);

}  // namespace muster
