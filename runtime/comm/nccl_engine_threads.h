// The thread of a rank that makes all calls of NCCL and CUDA for one group, and watches them.
//
// What hangs inside such a call can only be left alone: the thread is then abandoned with all that
// it holds, and whoever waits is told.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "runtime/comm/nccl_loop_threads.h"

namespace muster {

class NcclEngine {
 public:
  // `abort`: of the backend, set at the first failure.
  NcclEngine(const NcclSession::Parts& parts, NcclGroupName group, AbortFlag& abort);
  // Ends what is pending; waits for the thread as long as `patience` says.
  ~NcclEngine();
  NcclEngine(const NcclEngine&) = delete;
  NcclEngine& operator=(const NcclEngine&) = delete;

  // One of these, first.  From an id that all ranks have, or a communicator that is ready.
  Status Open(const NcclUniqueId& id);
  void Open(std::shared_ptr<Communicator> communicator);

  Status Run(const Call& call);
  std::unique_ptr<Work> Start(const Call& call);
  // Null: this rank is in no part.
  Result<std::shared_ptr<Communicator>> Split(int color, int key);
  // Null: this NCCL cannot, or the communicator is gone; what is pending has ended.
  Result<std::shared_ptr<Communicator>> Shrink(std::span<const int> lost);

  Result<void*> Allocate(std::size_t bytes);

  // The backend's flag was set: looks at it at once.
  void Abort(const Status& reason);

  const NcclGroupName& group() const;

 private:
  class PendingWork;

  std::shared_ptr<NcclPending> Submit(const Call& call);
  Status Ask(const std::string& doing, std::function<Status(NcclLoop&)> command);
  bool Close();

  const std::shared_ptr<NcclState> state_;
  std::thread thread_;
};

}  // namespace muster
