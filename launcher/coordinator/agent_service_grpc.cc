#include "launcher/coordinator/agent_service_grpc.h"

#include "runtime/base/wire.h"

namespace muster {
namespace {

// Far more than orders can be under way; an agent that is so far behind begins anew.
constexpr std::size_t kOrdersMost = 4096;

Result<NodeName> NodeOf(const grpc::CallbackServerContext& context) {
  auto identity = PeerOf(context);
  if (!identity.ok()) return std::move(identity).status();
  if (identity->kind != Identity::Kind::kNode) {
    return Status(Code::kDenied, Describe(*identity) + " is no node");
  }
  return identity->node;
}

}  // namespace

// ---- Session ------------------------------------------------------------------------------------

void SessionStream::Begin(const v1::Welcome& welcome) {
  v1::CoordinatorMessage message;
  *message.mutable_welcome() = welcome;
  Queue(std::move(message));
  StartRead(&in_);
}

void SessionStream::OnReadDone(bool ok) {
  if (!ok) {
    EndWith({});
    return;
  }
  loop_.PostAlways([self = shared_from_this()](Front& front, const Moment& at) {
    const Status status = self->Deal(front, at);
    if (!status.ok()) self->EndWith(status);
    const MutexLock lock(self->mutex_);
    if (self->open()) self->StartRead(&self->in_);
  });
}

Status SessionStream::Deal(Front& front, const Moment& at) {
  if (in_.has_register_()) {
    if (registered_) return Status(Code::kInvalid, "a stream registers once");
    if (in_.register_().node() != node_) {
      return Status(Code::kDenied,
                    "node " + node_ + " may not speak for node '" + in_.register_().node() + "'");
    }
    auto registering = FromProto(in_.register_());
    if (!registering.ok()) return std::move(registering).status();
    registered_ = true;
    front.Register(number_, shared_from_this(), std::move(registering->node),
                   std::move(registering->jobds), at);
    return {};
  }
  if (!registered_) return Status(Code::kInvalid, "the first message must be a registration");
  if (in_.has_heartbeat()) {
    front.Heard(node_, number_, at);
  } else if (in_.what_case() == v1::AgentMessage::kReport) {
    const auto report = ReportFrom(in_.report());
    if (!report.ok()) return report.status();
    // A newer agent may say what we do not know; it is alive all the same.
    if (*report) front.Reported(node_, number_, **report, at);
    if (!*report) front.Heard(node_, number_, at);
  }
  return {};
}

void SessionStream::Queue(v1::CoordinatorMessage message) {
  bool full = false;
  {
    const MutexLock lock(mutex_);
    if (!open()) return;
    full = out_.size() >= kOrdersMost;
    if (full) out_.clear();
    if (!full) out_.push_back(std::move(message));
    Pump();
  }
  if (full) EndWith(Status(Code::kExhausted, "the agent of node " + node_ + " does not listen"));
}

void SessionStream::GiveOrder(Incarnation incarnation, const Order& order) {
  v1::CoordinatorMessage message;
  message.mutable_order()->set_incarnation(incarnation);
  message.mutable_order()->set_order(EncodeVariant(order));
  Queue(std::move(message));
}

void SessionStream::WantLogs(const LogWant& want) {
  v1::CoordinatorMessage message;
  *message.mutable_log_wanted() = ToProto(want);
  Queue(std::move(message));
}

void SessionStream::EnoughLogs(std::uint64_t want) {
  v1::CoordinatorMessage message;
  message.mutable_log_enough()->set_want(want);
  Queue(std::move(message));
}

void SessionStream::WantExec(const ExecWant& want) {
  v1::CoordinatorMessage message;
  v1::ExecWanted& wanted = *message.mutable_exec_wanted();
  wanted.set_id(want.id);
  wanted.set_job(want.job);
  wanted.set_attempt(want.attempt);
  wanted.set_rank(want.rank);
  for (const std::string& word : want.argv) wanted.add_argv(word);
  wanted.set_recorders(want.recorders);
  Queue(std::move(message));
}

void SessionStream::WantInput(const InputWant& want) {
  v1::CoordinatorMessage message;
  v1::InputWanted& wanted = *message.mutable_input_wanted();
  wanted.set_id(want.id);
  wanted.set_job(want.job);
  wanted.set_attempt(want.attempt);
  Queue(std::move(message));
}

bool SessionStream::Next(v1::CoordinatorMessage* out) {
  if (out_.empty()) return false;
  *out = std::move(out_.front());
  out_.pop_front();
  return true;
}

void SessionStream::Gone() {
  loop_.PostAlways([node = node_, number = number_](Front& front, const Moment&) {
    front.AgentClosed(node, number);
  });
}

// ---- PushLogs -----------------------------------------------------------------------------------

void PushStream::Begin(std::shared_ptr<PushStream> self) {
  self_ = std::move(self);
  StartRead(&in_);
}

void PushStream::Refuse(const Status& status) {
  self_ = shared_from_this();
  FinishOnce(status);
}

void PushStream::ReadOn() {
  const MutexLock lock(mutex_);
  if (!finished_) StartRead(&in_);
}

void PushStream::FinishOnce(const Status& status) {
  const MutexLock lock(mutex_);
  if (finished_) return;
  finished_ = true;
  Finish(ToGrpc(status));
}

void PushStream::OnReadDone(bool ok) {
  if (!ok) {
    FinishOnce({});
    return;
  }
  want_ = in_.want();
  if (in_.end()) {
    whole_ = true;
    FinishOnce({});
    return;
  }
  const auto reader = relays_.Find(want_, node_);
  LogsStream::Room room = LogsStream::Room::kGone;
  // Once pushed, `resume` may run at any moment and reads into in_.
  if (reader) {
    room = reader->Push(node_, std::move(in_), [self = shared_from_this()] { self->ReadOn(); });
  }
  if (room == LogsStream::Room::kMore) ReadOn();
  if (room == LogsStream::Room::kGone) {
    FinishOnce(Status(Code::kNotFound, "nobody wants these logs any more"));
  }
}

void PushStream::OnCancel() {
  FinishOnce(Status(Code::kAborted, "the agent is gone"));
}

void PushStream::OnDone() {
  loop_.PostAlways([want = want_, whole = whole_](Front& front, const Moment&) {
    if (want != 0) front.LogsPushed(want, whole);
  });
  const std::shared_ptr<PushStream> last = std::move(self_);
}

// ---- the service --------------------------------------------------------------------------------

AgentService::AgentService(const CoordinatorConfig& config, Loop& loop, CallRelays& relays,
                           std::uint64_t life)
    : loop_(loop), relays_(relays) {
  const auto ms = [](Duration duration) {
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
  };
  welcome_.set_lease_ms(ms(config.lease));
  welcome_.set_heartbeat_ms(ms(config.heartbeat));
  welcome_.set_life(life);
}

grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>* AgentService::Session(
    grpc::CallbackServerContext* context) {
  const auto node = NodeOf(*context);
  const std::uint64_t number = next_stream_++;
  const auto stream =
      std::make_shared<SessionStream>(loop_, node.ok() ? *node : NodeName(), number);
  stream->KeepAlive(stream);
  v1::Welcome welcome = welcome_;
  welcome.set_number(number);
  if (node.ok()) stream->Begin(welcome);
  if (!node.ok()) stream->End(node.status());
  return stream.get();
}

grpc::ServerReadReactor<v1::PushedLog>* AgentService::PushLogs(grpc::CallbackServerContext* context,
                                                               v1::PushLogsReply*) {
  const auto node = NodeOf(*context);
  const auto stream =
      std::make_shared<PushStream>(loop_, relays_.logs, node.ok() ? *node : NodeName());
  if (node.ok()) stream->Begin(stream);
  if (!node.ok()) stream->Refuse(node.status());
  return stream.get();
}

grpc::ServerBidiReactor<v1::PushedExec, v1::ExecWord>* AgentService::PushExec(
    grpc::CallbackServerContext* context) {
  const auto node = NodeOf(*context);
  const auto stream =
      std::make_shared<PushExecStream>(relays_.execs, node.ok() ? *node : NodeName());
  stream->Begin(stream, node.status());
  return stream.get();
}

grpc::ServerBidiReactor<v1::PullWord, v1::InputPiece>* AgentService::PullInput(
    grpc::CallbackServerContext* context) {
  const auto node = NodeOf(*context);
  const auto stream = std::make_shared<PullStream>(relays_.inputs, node.ok() ? *node : NodeName());
  stream->KeepAlive(stream);
  stream->Begin(node.status());
  return stream.get();
}

}  // namespace muster
