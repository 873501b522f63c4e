// The service AgentLink: one Session an agent, and the streams by which agents push logs.
#pragma once

#include <atomic>
#include <deque>

#include "launcher/coordinator/call_relays_grpc.h"
#include "muster/v1/agent.grpc.pb.h"

namespace muster {

// One stream of one agent.  Reads one message at a time: the next one only when the loop has dealt
// with the last, so an agent that talks much waits in its own stream.
class SessionStream final
    : public OutStream<grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>,
                       v1::CoordinatorMessage>,
      public AgentStream,
      public std::enable_shared_from_this<SessionStream> {
 public:
  SessionStream(Loop& loop, NodeName node, std::uint64_t number)
      : loop_(loop), node_(std::move(node)), number_(number) {}
  void Begin(const v1::Welcome& welcome);

  void OnReadDone(bool ok) override;
  void GiveOrder(Incarnation incarnation, const Order& order) override;
  void WantLogs(const LogWant& want) override;
  void EnoughLogs(std::uint64_t want) override;
  void WantExec(const ExecWant& want) override;
  void WantInput(const InputWant& want) override;
  void End(const Status& status) override { EndWith(status); }

 private:
  void Queue(v1::CoordinatorMessage message);
  // On the loop.
  Status Deal(Front& front, const Moment& at);
  bool Next(v1::CoordinatorMessage* out) override;
  void Dropped() override { out_.clear(); }
  void Gone() override;

  Loop& loop_;
  const NodeName node_;
  const std::uint64_t number_;
  v1::AgentMessage in_;      // gRPC's while a read is under way, else the loop's.
  bool registered_ = false;  // The loop's.
  std::deque<v1::CoordinatorMessage> out_;
};

// One agent's answer to one want; hands the bytes to their reader at the reader's pace.
class PushStream final : public grpc::ServerReadReactor<v1::PushedLog>,
                         public std::enable_shared_from_this<PushStream> {
 public:
  PushStream(Loop& loop, LogRelays& relays, NodeName node)
      : loop_(loop), relays_(relays), node_(std::move(node)) {}
  void Begin(std::shared_ptr<PushStream> self);
  void Refuse(const Status& status);

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void ReadOn();
  void FinishOnce(const Status& status);

  Loop& loop_;
  LogRelays& relays_;
  const NodeName node_;
  v1::PushedLog in_;
  std::uint64_t want_ = 0;
  bool whole_ = false;  // The end was seen.
  Mutex mutex_;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::shared_ptr<PushStream> self_;
};

class AgentService final : public v1::AgentLink::CallbackService {
 public:
  // `life`: of the coordinator.
  AgentService(const CoordinatorConfig& config, Loop& loop, CallRelays& relays, std::uint64_t life);

  grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerReadReactor<v1::PushedLog>* PushLogs(grpc::CallbackServerContext* context,
                                                   v1::PushLogsReply* reply) override;
  grpc::ServerBidiReactor<v1::PushedExec, v1::ExecWord>* PushExec(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::PullWord, v1::InputPiece>* PullInput(
      grpc::CallbackServerContext* context) override;

 private:
  Loop& loop_;
  CallRelays& relays_;
  v1::Welcome welcome_;  // But for the number.
  std::atomic<std::uint64_t> next_stream_ = 1;
};

}  // namespace muster
