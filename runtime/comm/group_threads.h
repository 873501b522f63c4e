// Process groups whose ranks are threads of one process: for tests and for `--threads N`.
//
// A Rendezvous is shared by the ranks and outlives their groups.  A wait for a peer that never
// comes ends with kDeadline.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/comm/process_group.h"

namespace muster {

// The mailboxes of the ranks.  Any thread.
class ThreadsRendezvous {
 public:
  explicit ThreadsRendezvous(int world_size) : world_size_(world_size) {}

  int world_size() const { return world_size_; }
  void Put(int from, int to, int tag, std::span<const std::byte> bytes);
  Status Take(int from, int to, int tag, std::span<std::byte> bytes, Duration timeout);

 private:
  using Box = std::tuple<int, int, int>;  // From, to, tag.

  const int world_size_;
  Mutex mutex_;
  std::condition_variable_any arrived_;
  std::map<Box, std::deque<std::vector<std::byte>>> boxes_ GUARDED_BY(mutex_);
};

std::unique_ptr<ProcessGroup> MakeThreadsGroup(ThreadsRendezvous& rendezvous, int rank,
                                               Duration timeout = kPeerTimeout);

}  // namespace muster
