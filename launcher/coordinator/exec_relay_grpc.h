// A program beside a rank: the stream of who asked for it, and that of the agent that runs it.  The
// bytes go from one to the other at the pace of the first.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "launcher/coordinator/loop_threads.h"
#include "launcher/coordinator/relays_threads.h"
#include "launcher/coordinator/stream_grpc.h"
#include "muster/v1/agent.grpc.pb.h"
#include "muster/v1/cluster.grpc.pb.h"

namespace muster {

class ExecStream;
using ExecRelays = Relays<ExecStream>;
class PushExecStream;

class ExecStream final : public OutStream<grpc::ServerWriteReactor<v1::ExecEvent>, v1::ExecEvent>,
                         public ExecCaller,
                         public std::enable_shared_from_this<ExecStream> {
 public:
  enum class Room { kMore, kWait, kGone };

  ExecStream(Loop& loop, ExecRelays& relays, std::uint64_t id)
      : loop_(loop), relays_(relays), id_(id) {}

  // After kWait push no more until the pusher's ReadOn() runs.
  Room Push(v1::PushedExec pushed, const std::shared_ptr<PushExecStream>& from);

  void Expect(std::uint64_t id, const NodeName& node) override;
  void End(const Status& status) override { EndWith(status); }

 private:
  bool Next(v1::ExecEvent* out) override;
  void Dropped() override;
  void Gone() override;

  Loop& loop_;
  ExecRelays& relays_;
  const std::uint64_t id_;
  std::deque<v1::ExecEvent> events_;
  std::weak_ptr<PushExecStream> from_;
  bool waits_ = false;  // The pusher, for room.
};

// The agent's end.  Keeps itself alive until gRPC is done with it.
class PushExecStream final : public grpc::ServerBidiReactor<v1::PushedExec, v1::ExecWord>,
                             public std::enable_shared_from_this<PushExecStream> {
 public:
  PushExecStream(ExecRelays& relays, NodeName node) : relays_(relays), node_(std::move(node)) {}
  void Begin(std::shared_ptr<PushExecStream> self, const Status& status);

  void ReadOn();
  void FinishOnce(const Status& status);

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  std::shared_ptr<ExecStream> Caller(std::uint64_t id);

  ExecRelays& relays_;
  const NodeName node_;
  v1::PushedExec in_;
  Mutex mutex_;
  std::weak_ptr<ExecStream> caller_ GUARDED_BY(mutex_);
  bool asked_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<PushExecStream> self_;
};

}  // namespace muster
