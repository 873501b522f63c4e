#include "launcher/cli/client_grpc.h"

#include "launcher/cli/channel_grpc.h"
#include "launcher/cli/client_proto.h"
#include "launcher/cli/stream_grpc.h"

namespace muster {

ClusterClient::ClusterClient(ClientConfig config)
    : channel_(std::make_shared<Channel>(std::move(config))) {}
ClusterClient::~ClusterClient() = default;

Result<JobId> ClusterClient::Submit(const JobRequest& request) {
  const v1::SubmitRequest message = ToProto(request);
  v1::SubmitReply reply;
  RETURN_IF_ERROR(channel_->Try(
      [&](auto& stub, auto& context) { return stub.Submit(&context, message, &reply); }));
  return reply.job();
}

Result<JobView> ClusterClient::Get(JobId job) {
  v1::GetJobRequest message;
  message.set_job(job);
  v1::Job reply;
  RETURN_IF_ERROR(channel_->Try(
      [&](auto& stub, auto& context) { return stub.GetJob(&context, message, &reply); }));
  return FromProto(reply);
}

Result<std::vector<JobView>> ClusterClient::List(bool ended_too) {
  v1::ListJobsRequest message;
  message.set_ended_too(ended_too);
  v1::ListJobsReply reply;
  RETURN_IF_ERROR(channel_->Try(
      [&](auto& stub, auto& context) { return stub.ListJobs(&context, message, &reply); }));
  std::vector<JobView> jobs;
  for (const v1::Job& job : reply.jobs()) jobs.push_back(FromProto(job));
  return jobs;
}

Status ClusterClient::Cancel(JobId job, bool now) {
  v1::CancelRequest message;
  message.set_job(job);
  message.set_now(now);
  v1::CancelReply reply;
  return channel_->Try(
      [&](auto& stub, auto& context) { return stub.Cancel(&context, message, &reply); });
}

Status ClusterClient::Signal(JobId job, std::int32_t signal) {
  v1::SignalRequest message;
  message.set_job(job);
  message.set_signal(signal);
  v1::SignalReply reply;
  return channel_->Try(
      [&](auto& stub, auto& context) { return stub.Signal(&context, message, &reply); });
}

Result<std::vector<ClusterNode>> ClusterClient::Nodes() {
  const v1::ListNodesRequest message;
  v1::ListNodesReply reply;
  RETURN_IF_ERROR(channel_->Try(
      [&](auto& stub, auto& context) { return stub.ListNodes(&context, message, &reply); }));
  std::vector<ClusterNode> nodes;
  for (const v1::Node& node : reply.nodes()) nodes.push_back(FromProto(node));
  return nodes;
}

Status ClusterClient::Drain(const NodeName& node, const std::string& reason, bool dead) {
  v1::DrainRequest message;
  message.set_node(node);
  message.set_reason(reason);
  message.set_dead(dead);
  v1::DrainReply reply;
  return channel_->Try(
      [&](auto& stub, auto& context) { return stub.Drain(&context, message, &reply); });
}

Result<ClusterInfo> ClusterClient::Info() {
  const v1::InfoRequest message;
  v1::InfoReply reply;
  RETURN_IF_ERROR(channel_->Try(
      [&](auto& stub, auto& context) { return stub.Info(&context, message, &reply); }));
  return FromProto(reply);
}

std::unique_ptr<ClientStream> ClusterClient::Watch(JobId job,
                                                   std::function<void(const WatchNews&)> on_news,
                                                   Ended ended) {
  return MakeWatch(channel_, job, std::move(on_news), std::move(ended));
}

std::unique_ptr<ClientStream> ClusterClient::Logs(const LogsRequest& request,
                                                  std::function<void(LogPiece)> on_piece,
                                                  Ended ended) {
  return MakeLogs(channel_, request, std::move(on_piece), std::move(ended));
}

std::unique_ptr<ClientStream> ClusterClient::Attach(JobId job, std::function<void()> held,
                                                    Ended ended) {
  return MakeAttach(channel_, job, std::move(held), std::move(ended));
}

}  // namespace muster
