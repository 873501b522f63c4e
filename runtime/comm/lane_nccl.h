// Operations on their way through one communicator and one stream of their own, in order: while one
// runs on the GPU, the next ones are put behind it.
//
// The engine's thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "runtime/comm/operation_nccl.h"

namespace muster {

class OperationLane {
 public:
  using End = std::function<void(const Status&)>;
  // Makes the communicator; null: not yet.  Asked again now and then.
  using Make = std::function<Result<std::shared_ptr<Communicator>>()>;

  OperationLane(const NcclSession::Parts& parts, Make make)
      : parts_(parts), make_(std::move(make)) {}
  OperationLane(const NcclSession::Parts& parts, std::shared_ptr<Communicator> communicator)
      : parts_(parts), communicator_(std::move(communicator)) {}
  // Destroys the stream, if nothing is left in it.
  ~OperationLane();
  OperationLane(const OperationLane&) = delete;
  OperationLane& operator=(const OperationLane&) = delete;

  // `end` hears how it ended, once; it may push.
  void Push(std::shared_ptr<Operation> operation, End end);

  // Moves on what can be moved on.  True: something did.
  bool Advance(TimePoint now);
  // Why nothing will end well any more.  Ok: it may.
  const Status& broken() const { return broken_; }
  bool idle() const { return waiting_.empty() && running_.empty(); }
  // What has begun and not ended; null: nothing.
  Operation* oldest() const;

  // Lets go of the GPU: revokes where this NCCL can and `keep`, else aborts.
  void Stop(bool keep);
  // What was stopped has let go.
  bool Stopped();
  // Ends all that are left.
  void EndAll(const Status& status);
  // An end in good order; true when it has ended.
  bool Close() { return communicator_ == nullptr || communicator_->Close(); }

  const std::shared_ptr<Communicator>& communicator() const { return communicator_; }

 private:
  struct Item {
    std::shared_ptr<Operation> operation;
    End end;
  };

  bool Open();
  bool Begin(TimePoint now);
  bool Finish();
  void Check();
  bool Reached(CudaEvent event);
  Status Record(Operation& operation);

  const NcclSession::Parts& parts_;
  Make make_;
  std::shared_ptr<Communicator> communicator_;
  CudaStream stream_ = nullptr;
  std::deque<Item> waiting_;  // The first may have begun.
  std::deque<Item> running_;  // Wholly in the stream.
  bool recorded_ = false;     // Of the first that waits: the stream was asked to tell.
  Status broken_;
};

}  // namespace muster
