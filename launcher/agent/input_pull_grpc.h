// Brings one caller's input from the coordinator to rank 0.
//
// Two threads of its own: one reads and writes, one sees that the rank reads no more.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <thread>

#include "launcher/agent/door_errand.h"
#include "launcher/agent/exec_posix.h"
#include "launcher/agent/input_writer_posix.h"
#include "muster/v1/agent.grpc.pb.h"

namespace muster {

class InputPull final : public DoorErrand {
 public:
  // Begins at once.
  InputPull(std::shared_ptr<v1::AgentLink::Stub> stub, const ExecWish& wish,
            Result<ExecDoorPlace> door);
  ~InputPull() override;  // Ends it, and so the rank's input.
  InputPull(const InputPull&) = delete;
  InputPull& operator=(const InputPull&) = delete;

  bool done() const override { return done_; }

 private:
  using Stream = grpc::ClientReaderWriter<v1::PullWord, v1::InputPiece>;
  void Main();
  void Carry(Stream& stream, const InputWriter& writer);

  const std::shared_ptr<v1::AgentLink::Stub> stub_;
  const ExecWish wish_;
  const Result<ExecDoorPlace> door_;
  std::atomic<bool> done_ = false;
  grpc::ClientContext context_;
  StopFlag stop_;
  std::jthread thread_;
};

}  // namespace muster
