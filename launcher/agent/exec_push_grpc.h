// Runs one program beside a rank and tells the coordinator what it says and how it ends.
//
// Two threads of its own: one runs the program and writes, one hears that the call ended.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <list>
#include <memory>
#include <thread>

#include "launcher/agent/exec_posix.h"
#include "muster/v1/agent.grpc.pb.h"
#include "runtime/base/mutex.h"

namespace muster {

class ExecPush {
 public:
  // Begins at once.
  ExecPush(std::shared_ptr<v1::AgentLink::Stub> stub, ExecWish wish, Result<ExecDoorPlace> door);
  ~ExecPush();  // Ends it.
  ExecPush(const ExecPush&) = delete;
  ExecPush& operator=(const ExecPush&) = delete;

  bool done() const { return done_; }  // Any thread.

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

// Those of one session.  Any thread.
class ExecPushes {
 public:
  void Start(const std::shared_ptr<v1::AgentLink::Stub>& stub, const ExecWish& wish,
             const Result<ExecDoorPlace>& door);
  void EndAll();

 private:
  static constexpr std::size_t kMost = 64;

  Mutex mutex_;
  std::list<std::unique_ptr<ExecPush>> pushes_ GUARDED_BY(mutex_);
};

}  // namespace muster
