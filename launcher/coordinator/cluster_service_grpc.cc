#include "launcher/coordinator/cluster_service_grpc.h"

#include "runtime/base/text.h"
#include "runtime/base/tls_openssl.h"

namespace muster {
namespace {

const Status& Busy() {
  static const Status kBusy(Code::kExhausted, "the coordinator is busy; try again");
  return kBusy;
}

// What a caller sees is durable: the answer goes through the front's gate.
void FinishDurable(Front& front, grpc::ServerUnaryReactor* call) {
  front.Leave([call](const Status& durable) { call->Finish(ToGrpc(durable)); });
}

Front::Reply FinishWith(grpc::ServerUnaryReactor* call) {
  return [call](const Status& status, JobId) { call->Finish(ToGrpc(status)); };
}

// The job, if it is there and `identity` may touch it.
Result<const Job*> JobFor(const Front& front, JobId id, const Identity& identity) {
  const auto it = front.state().jobs.find(id);
  if (it == front.state().jobs.end()) {
    return Status(Code::kNotFound, "there is no job " + std::to_string(id));
  }
  RETURN_IF_ERROR(MayTouch(identity, it->second.owner.uid));
  return &it->second;
}

template <typename Stream, typename... Args>
std::shared_ptr<Stream> MakeStream(Args&&... args) {
  auto stream = std::make_shared<Stream>(std::forward<Args>(args)...);
  stream->KeepAlive(stream);
  return stream;
}

constexpr std::int32_t kSignalMost = 64;
constexpr std::int32_t kNoGrace = 9;  // Cause::code of a cancel without grace.

}  // namespace

ClusterService::Unary* ClusterService::OnLoop(Context* context, UserWork work) {
  Unary* call = context->DefaultReactor();
  auto identity = PeerOf(*context);
  if (identity.ok() && identity->kind != Identity::Kind::kUser) {
    identity = Status(Code::kDenied, Describe(*identity) + " is no user of this cluster");
  }
  if (!identity.ok()) {
    call->Finish(ToGrpc(identity.status()));
    return call;
  }
  const bool posted = loop_.Post([call, work = std::move(work), identity = *std::move(identity)](
                                     Front& front, const Moment& at) {
    if (front.failure().ok()) {
      work(front, at, identity, call);
    } else {
      call->Finish(ToGrpc(front.failure()));
    }
  });
  if (!posted) call->Finish(ToGrpc(Busy()));
  return call;
}

ClusterService::Unary* ClusterService::Submit(Context* context, const v1::SubmitRequest* request,
                                              v1::SubmitReply* reply) {
  return OnLoop(context, [this, request, reply](Front& front, const Moment& at,
                                                const Identity& identity, Unary* call) {
    Status checked = CheckSubmission(*request);
    const Owner owner = FromProto(request->owner());
    if (checked.ok()) checked = MaySubmitAs(identity, owner, config_.allow_root);
    if (!checked.ok()) {
      call->Finish(ToGrpc(checked));
      return;
    }
    const std::string random = RandomBytes(16);
    const std::string& resume = request->spec().checkpoint().resume();
    JobSubmitted submitted{
        // Users cannot guess or take each other's keys.
        .submit_key = std::to_string(identity.uid) + "/" + request->submit_key(),
        .run_id = resume.empty() ? ToHex(std::as_bytes(std::span(random))) : resume,
        .job_key = RandomBytes(32),
        .spec = FromProto(request->spec()),
        .owner = owner};
    front.Take(submitted, at, [call, reply](const Status& status, JobId job) {
      reply->set_job(job);
      call->Finish(ToGrpc(status));
    });
  });
}

ClusterService::Unary* ClusterService::GetJob(Context* context, const v1::GetJobRequest* request,
                                              v1::Job* reply) {
  return OnLoop(context,
                [request, reply](Front& front, const Moment&, const Identity&, Unary* call) {
                  auto picture = front.Picture(request->job());
                  if (!picture.ok()) {
                    call->Finish(ToGrpc(picture.status()));
                    return;
                  }
                  *reply = ToProto(*picture, true);
                  FinishDurable(front, call);
                });
}

ClusterService::Unary* ClusterService::ListJobs(Context* context,
                                                const v1::ListJobsRequest* request,
                                                v1::ListJobsReply* reply) {
  return OnLoop(
      context, [request, reply](Front& front, const Moment&, const Identity&, Unary* call) {
        for (const auto& [id, job] : front.state().jobs) {
          if (job.phase == JobPhase::kEnded && !request->ended_too()) continue;
          *reply->add_jobs() = ToProto({.job = job, .progress = front.progress(id)}, false);
        }
        FinishDurable(front, call);
      });
}

ClusterService::Unary* ClusterService::Cancel(Context* context, const v1::CancelRequest* request,
                                              v1::CancelReply*) {
  return OnLoop(
      context, [request](Front& front, const Moment& at, const Identity& identity, Unary* call) {
        const auto job = JobFor(front, request->job(), identity);
        if (!job.ok()) {
          call->Finish(ToGrpc(job.status()));
          return;
        }
        // The core counts: asked for once is with grace, twice is at once.
        const bool asked = (*job)->cancel.has_value();
        const bool at_once = asked && (*job)->cancel->code == kNoGrace;
        const bool again = request->has_grace_ms() && !at_once;
        if ((*job)->phase == JobPhase::kEnded || (request->now() ? at_once : asked && !again)) {
          FinishDurable(front, call);  // It is so already.
          return;
        }
        JobCancelled cancelled{
            .job = request->job(),
            .cause = {.kind = CauseKind::kCancelled, .text = "by " + Describe(identity)}};
        if (request->has_grace_ms()) cancelled.grace_ms = request->grace_ms();
        if (request->now() && !asked) front.Take(cancelled, at);
        front.Take(cancelled, at, FinishWith(call));
      });
}

ClusterService::Unary* ClusterService::Signal(Context* context, const v1::SignalRequest* request,
                                              v1::SignalReply*) {
  return OnLoop(context, [request](Front& front, const Moment& at, const Identity& identity,
                                   Unary* call) {
    Status checked;
    if (const auto job = JobFor(front, request->job(), identity); !job.ok()) checked = job.status();
    if (checked.ok() && (request->signal() < 1 || request->signal() > kSignalMost)) {
      checked = Status(Code::kInvalid, "there is no signal " + std::to_string(request->signal()) +
                                           "; signals are 1 to 64");
    }
    if (!checked.ok()) {
      call->Finish(ToGrpc(checked));
      return;
    }
    JobSignalled signalled{.job = request->job(), .signal = request->signal()};
    if (request->has_rank()) signalled.rank = request->rank();
    front.Take(signalled, at, FinishWith(call));
  });
}

ClusterService::Unary* ClusterService::ListNodes(Context* context, const v1::ListNodesRequest*,
                                                 v1::ListNodesReply* reply) {
  return OnLoop(context, [reply](Front& front, const Moment&, const Identity&, Unary* call) {
    *reply = NodesOf(front.state());
    FinishDurable(front, call);
  });
}

ClusterService::Unary* ClusterService::Drain(Context* context, const v1::DrainRequest* request,
                                             v1::DrainReply*) {
  return OnLoop(context, [request](Front& front, const Moment& at, const Identity& identity,
                                   Unary* call) {
    Status checked;
    if (!identity.is_operator) {
      checked = Status(Code::kDenied, Describe(identity) + " may not drain nodes; an operator may");
    } else if (!front.state().nodes.contains(request->node())) {
      checked = Status(Code::kNotFound, "there is no node '" + request->node() + "'");
    } else if (request->dead() && request->reason().empty()) {
      checked = Status(Code::kInvalid, "a node that is declared dead needs a reason");
    }
    if (!checked.ok()) {
      call->Finish(ToGrpc(checked));
      return;
    }
    front.Take(
        NodeDrained{.node = request->node(), .reason = request->reason(), .dead = request->dead()},
        at, FinishWith(call));
  });
}

ClusterService::Unary* ClusterService::Info(Context* context, const v1::InfoRequest*,
                                            v1::InfoReply* reply) {
  return OnLoop(context,
                [reply](Front& front, const Moment&, const Identity& identity, Unary* call) {
                  *reply = InfoOf(front.state());
                  reply->set_version(MUSTER_VERSION);
                  reply->set_identity(Describe(identity));
                  FinishDurable(front, call);
                });
}

grpc::ServerWriteReactor<v1::WatchEvent>* ClusterService::Watch(Context* context,
                                                                const v1::WatchRequest* request) {
  const ListenerId id = next_listener_++;
  const auto stream = MakeStream<WatchStream>(loop_, request->job(), id);
  const auto identity = PeerOf(*context);
  if (!identity.ok()) {
    stream->End(identity.status());
  } else if (!loop_.Post([stream, id, job = request->job(), life = request->life(),
                          after = request->after()](Front& front, const Moment&) {
               front.Watch(job, id, life, after, stream);
             })) {
    stream->End(Busy());
  }
  return stream.get();
}

grpc::ServerWriteReactor<v1::LogChunk>* ClusterService::Logs(Context* context,
                                                             const v1::LogsRequest* request) {
  const ListenerId id = next_listener_++;
  const auto stream = MakeStream<LogsStream>(loop_, relays_.logs, id);
  const auto identity = PeerOf(*context);
  if (!identity.ok()) {
    stream->End(identity.status());
    return stream.get();
  }
  stream->SetFrom(*request);
  const bool posted = loop_.Post(
      [stream, id, identity = *identity, asked = FromProto(*request)](Front& front, const Moment&) {
        const auto job = JobFor(front, asked.job, identity);
        if (!job.ok()) stream->End(job.status());
        if (job.ok()) front.ReadLogs(id, asked, stream);
      });
  if (!posted) stream->End(Busy());
  return stream.get();
}

grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachReply>* ClusterService::Attach(
    Context* context) {
  auto identity = PeerOf(*context);
  const Status denied = identity.ok() ? Status() : identity.status();
  const auto stream = MakeStream<AttachStream>(
      loop_, identity.ok() ? *std::move(identity) : Identity{}, next_listener_++);
  if (denied.ok()) stream->Begin();
  if (!denied.ok()) stream->End(denied);
  return stream.get();
}

grpc::ServerWriteReactor<v1::ExecEvent>* ClusterService::Exec(Context* context,
                                                              const v1::ExecRequest* request) {
  const ListenerId id = next_listener_++;
  const auto stream = MakeStream<ExecStream>(loop_, relays_.execs, id);
  const auto identity = PeerOf(*context);
  Status checked = identity.status();
  const bool program = !request->argv().empty() && !request->argv(0).empty();
  if (checked.ok() && !program && !request->recorders()) {
    checked = Status(Code::kInvalid, "no program to run beside the rank");
  }
  if (!checked.ok()) {
    stream->End(checked);
    return stream.get();
  }
  ExecWant want{.id = id,
                .job = request->job(),
                .rank = request->rank(),
                .argv = {request->argv().begin(), request->argv().end()},
                .recorders = request->recorders()};
  const bool posted = loop_.Post(
      [stream, identity = *identity, want = std::move(want)](Front& front, const Moment&) {
        const auto job = JobFor(front, want.job, identity);
        if (!job.ok()) stream->End(job.status());
        if (job.ok()) front.Exec(want, stream);
      });
  if (!posted) stream->End(Busy());
  return stream.get();
}

grpc::ServerBidiReactor<v1::InputPiece, v1::InputWord>* ClusterService::Input(Context* context) {
  auto identity = PeerOf(*context);
  const Status denied = identity.ok() ? Status() : identity.status();
  const auto stream = MakeStream<InputStream>(
      loop_, relays_.inputs, identity.ok() ? *std::move(identity) : Identity{}, next_listener_++);
  if (denied.ok()) stream->Begin();
  if (!denied.ok()) stream->End(denied);
  return stream.get();
}

}  // namespace muster
