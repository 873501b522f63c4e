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

Status ClusterClient::Cancel(JobId job, bool now, std::optional<std::uint32_t> grace_ms) {
  v1::CancelRequest message;
  message.set_job(job);
  message.set_now(now);
  if (grace_ms) message.set_grace_ms(*grace_ms);
  v1::CancelReply reply;
  return channel_->Try(
      [&](auto& stub, auto& context) { return stub.Cancel(&context, message, &reply); });
}

Status ClusterClient::Signal(JobId job, std::int32_t signal, std::int64_t rank) {
  v1::SignalRequest message;
  message.set_job(job);
  message.set_signal(signal);
  if (rank >= 0) message.set_rank(static_cast<std::uint32_t>(rank));
  v1::SignalReply reply;
  return channel_->Try(
      [&](auto& stub, auto& context) { return stub.Signal(&context, message, &reply); });
}

Result<ExecEnd> ClusterClient::Exec(
    const ExecRequest& request,
    const std::function<void(bool is_stderr, const std::string&)>& on_output) {
  v1::ExecRequest message;
  message.set_job(request.job);
  message.set_rank(request.rank);
  for (const std::string& word : request.argv) message.add_argv(word);
  message.set_recorders(request.recorders);
  const auto stub = channel_->Connect();
  if (!stub.ok()) return channel_->Away(stub.status());
  grpc::ClientContext context;
  const auto reader = (*stub)->Exec(&context, message);
  ExecEnd end;
  bool ended = false;
  for (v1::ExecEvent event; reader->Read(&event);) {
    if (!event.data().empty()) on_output(event.is_stderr(), event.data());
    if (!event.ended()) continue;
    ended = true;
    end = {.exit = event.exit(), .failure = event.failure()};
  }
  Status status = FromGrpc(reader->Finish());
  if (status.code() == Code::kUnavailable) return channel_->Away(status);
  if (!status.ok()) return status;
  if (!ended) return Status(Code::kAborted, "the program's end was not heard of");
  return end;
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

std::unique_ptr<ClientStream> ClusterClient::GiveInput(JobId job, InputSource& source,
                                                       Ended ended) {
  return MakeInput(channel_, job, source, std::move(ended));
}

}  // namespace muster
