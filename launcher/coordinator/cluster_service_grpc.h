// The service Cluster: turns each call into work for the loop, and the loop's word into an answer.
//
// gRPC's threads only look at the certificate and post; nothing here waits.
#pragma once

#include <atomic>

#include "launcher/coordinator/call_relays_grpc.h"

namespace muster {

class ClusterService final : public v1::Cluster::CallbackService {
 public:
  ClusterService(const CoordinatorConfig& config, Loop& loop, CallRelays& relays)
      : config_(config), loop_(loop), relays_(relays) {}

  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  Unary* Submit(Context*, const v1::SubmitRequest*, v1::SubmitReply*) override;
  Unary* GetJob(Context*, const v1::GetJobRequest*, v1::Job*) override;
  Unary* ListJobs(Context*, const v1::ListJobsRequest*, v1::ListJobsReply*) override;
  Unary* Cancel(Context*, const v1::CancelRequest*, v1::CancelReply*) override;
  Unary* Signal(Context*, const v1::SignalRequest*, v1::SignalReply*) override;
  Unary* ListNodes(Context*, const v1::ListNodesRequest*, v1::ListNodesReply*) override;
  Unary* Drain(Context*, const v1::DrainRequest*, v1::DrainReply*) override;
  Unary* Info(Context*, const v1::InfoRequest*, v1::InfoReply*) override;
  grpc::ServerWriteReactor<v1::WatchEvent>* Watch(Context*, const v1::WatchRequest*) override;
  grpc::ServerWriteReactor<v1::LogChunk>* Logs(Context*, const v1::LogsRequest*) override;
  grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachReply>* Attach(Context*) override;
  grpc::ServerWriteReactor<v1::ExecEvent>* Exec(Context*, const v1::ExecRequest*) override;
  grpc::ServerBidiReactor<v1::InputPiece, v1::InputWord>* Input(Context*) override;

 private:
  using UserWork = std::function<void(Front&, const Moment&, const Identity&, Unary*)>;
  // Runs `work` on the loop; `work` sees to it that the call is finished.
  Unary* OnLoop(Context* context, UserWork work);

  const CoordinatorConfig& config_;
  Loop& loop_;
  CallRelays& relays_;
  std::atomic<ListenerId> next_listener_ = 1;
};

}  // namespace muster
