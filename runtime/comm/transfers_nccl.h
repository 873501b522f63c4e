// Sends and recvs of one rank over NCCL: a lane for each direction of each peer.
//
// A message is a header of 32 bytes, then its bytes, in the order of the sends.  The receiver looks
// at the header on the host before it takes the bytes: into the recv that asked for such a tag
// first, or aside until one does; so tags work, and a message of another size is an error of the
// recv and no more.
//
// The engine's thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "runtime/comm/lane_nccl.h"

namespace muster {

class Transfers {
 public:
  // `name`: of the group.
  Transfers(const NcclSession::Parts& parts, std::string name, int rank);
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void Push(const std::shared_ptr<Operation>& operation, const OperationLane::End& end);
  bool Advance(TimePoint now);
  bool idle() const;

  // As those of OperationLane, for all lanes.
  Status broken() const;
  void Stop();
  bool Stopped();
  void EndAll(const Status& status);
  bool Close();

 private:
  struct Header;
  class Receiver;

  OperationLane& LaneOf(int peer, bool sends);
  Result<std::shared_ptr<Communicator>> Pair(int peer, bool sends, TimePoint* next_look);
  void Send(const std::shared_ptr<Operation>& operation, const OperationLane::End& end);

  const NcclSession::Parts& parts_;
  const std::string name_;
  const int rank_;
  std::map<int, std::unique_ptr<Receiver>> receivers_;
  std::map<std::pair<int, bool>, std::unique_ptr<OperationLane>> lanes_;
};

}  // namespace muster
