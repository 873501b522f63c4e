// Runs one program beside a rank and tells the coordinator what it says and how it ends.
//
// Two threads of its own: one runs the program and writes, one hears that the call ended.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <list>
#include <memory>
#include <thread>

#include "launcher/agent/door_errand.h"
#include "launcher/agent/exec_posix.h"
#include "muster/v1/agent.grpc.pb.h"
#include "runtime/base/mutex.h"

namespace muster {

class ExecPush final : public DoorErrand {
 public:
  // Begins at once.
  ExecPush(std::shared_ptr<v1::AgentLink::Stub> stub, ExecWish wish, Result<ExecDoorPlace> door);
  ~ExecPush() override;  // Ends it.
  ExecPush(const ExecPush&) = delete;
  ExecPush& operator=(const ExecPush&) = delete;

  bool done() const override { return done_; }

 private:
  void Main();

  const std::shared_ptr<v1::AgentLink::Stub> stub_;
  const ExecWish wish_;
  const Result<ExecDoorPlace> door_;
  std::atomic<bool> done_ = false;
  grpc::ClientContext context_;
  StopFlag stop_;
  std::jthread thread_;
};

// Those of one session, and its InputPulls.  Any thread.
class DoorErrands {
 public:
  void Start(const std::shared_ptr<v1::AgentLink::Stub>& stub, const ExecWish& wish,
             const Result<ExecDoorPlace>& door);
  void EndAll();

 private:
  static constexpr std::size_t kMost = 256;

  Mutex mutex_;
  std::list<std::unique_ptr<DoorErrand>> errands_ GUARDED_BY(mutex_);
};

}  // namespace muster
