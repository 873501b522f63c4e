// Sends what one wish for logs asked for: reads its source as fast as the coordinator takes it.
//
// Any thread; gRPC's threads read the source while the stream moves, Tick() while it rests.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>

#include "launcher/agent/logs.h"
#include "muster/v1/agent.grpc.pb.h"
#include "runtime/base/mutex.h"

namespace muster {

class LogPush final : public grpc::ClientWriteReactor<v1::PushedLog> {
 public:
  LogPush(std::uint64_t want, std::unique_ptr<LogSource> source, bool follow,
          std::function<void()> done)
      : want_(want), source_(std::move(source)), done_(std::move(done)), follow_(follow) {}
  // Call once.  `done` runs when gRPC is through with it; then it may be destroyed.
  void Begin(v1::AgentLink::Stub& stub);

  void Tick();     // There may be more in the files.
  void Enough();   // Nothing more will be written: send the rest and end.
  void Abandon();  // The session broke.
  bool resting();  // It waits for more to be written.

  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void Pump() REQUIRES(mutex_);
  void Close() REQUIRES(mutex_);

  const std::uint64_t want_;
  const std::unique_ptr<LogSource> source_;
  const std::function<void()> done_;
  grpc::ClientContext context_;
  v1::PushLogsReply reply_;
  Mutex mutex_;
  v1::PushedLog out_;
  bool follow_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  bool abandoned_ GUARDED_BY(mutex_) = false;
};

}  // namespace muster
