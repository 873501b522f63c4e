#include "launcher/agent/session_grpc.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <set>
#include <thread>

#include "launcher/agent/channel_grpc.h"
#include "launcher/agent/exec_push_grpc.h"
#include "launcher/agent/log_push_grpc.h"
#include "launcher/agent/outbox.h"
#include "launcher/agent/session_proto.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::chrono::milliseconds kBackoffFirst(50);
constexpr std::chrono::milliseconds kBackoffMost(1000);
constexpr std::chrono::milliseconds kHeartbeat(500);  // Until the coordinator says how often.
constexpr std::chrono::milliseconds kLogTick(25);     // How soon a follower sees a new line.
constexpr std::size_t kPushesMost = 256;

void Silent(gpr_log_func_args*) {}

// Once a process.  The reference is never given back: else gRPC would stop and start all its
// threads for each try to connect.
void PrepareGrpc() {
  static const bool kPrepared = [] {
    gpr_set_log_function(&Silent);  // What it would say comes back as a Status.
    grpc_init();
    return true;
  }();
  static_cast<void>(kPrepared);
}

}  // namespace

class AgentSession::Link {
 public:
  explicit Link(SessionConfig config) : config_(std::move(config)) {
    PrepareGrpc();
    thread_ = std::jthread([this] { Main(); });
  }
  ~Link() {
    {
      const MutexLock lock(mutex_);
      stopping_ = true;
      wake_.notify_all();
    }
    thread_.join();
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void Register(SessionNumber number, const Registration& registration) {
    const MutexLock lock(mutex_);
    if (stream_ == nullptr || number != number_ || registered_) return;
    registered_ = true;
    first_ = ToProto(registration);
    Pump();
  }

  void Send(const Report& report) {
    const MutexLock lock(mutex_);
    // A registration is about to say any status, and newer.
    if (!registered_ && std::holds_alternative<JobdStatus>(report)) return;
    outbox_.Put(report);
    Pump();
  }

  void RunExec(const ExecWish& wish, const Result<ExecDoorPlace>& door) {
    const MutexLock lock(mutex_);
    if (stream_ != nullptr) errands_.Start(stub_, wish, door);
  }

 private:
  // One Session stream.  Writes begin outside gRPC's calls, so it is held until the read side ends.
  class Stream final : public grpc::ClientBidiReactor<v1::AgentMessage, v1::CoordinatorMessage> {
   public:
    explicit Stream(Link& link) : link_(link) {}
    void Begin(v1::AgentLink::Stub& stub) {
      stub.async()->Session(&context_, this);
      AddHold();
      StartRead(&in_);
      StartCall();
    }
    void Cancel() { context_.TryCancel(); }
    void Write(v1::AgentMessage message) {
      out_ = std::move(message);
      StartWrite(&out_);
    }
    void OnReadDone(bool ok) override {
      if (!ok) {
        link_.ReadsEnded();
        RemoveHold();
        return;
      }
      link_.Heard(in_);
      StartRead(&in_);
    }
    void OnWriteDone(bool ok) override { link_.Written(ok); }
    void OnDone(const grpc::Status& status) override { link_.StreamDone(status); }

   private:
    Link& link_;
    grpc::ClientContext context_;
    v1::AgentMessage out_;
    v1::CoordinatorMessage in_;
  };

  // ---- the session's thread ----
  void Main();
  Result<std::shared_ptr<grpc::Channel>> Connect();
  Status RunStream();
  void TendWhileOpen(Stream& stream);
  void EndPushes();
  void Reap() REQUIRES(mutex_);

  // ---- gRPC's threads ----
  void Heard(const v1::CoordinatorMessage& message);
  void Welcomed(const v1::Welcome& welcome);
  void Ordered(const v1::OrderFor& order);
  void Wanted(const v1::LogWanted& wanted);
  void Written(bool ok);
  void ReadsEnded();
  void StreamDone(const grpc::Status& status);

  void Pump() REQUIRES(mutex_);

  const SessionConfig config_;
  Mutex callbacks_;  // One at a time.

  Mutex mutex_;
  std::condition_variable_any wake_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Null when it cannot be written to.
  Stream* stream_ GUARDED_BY(mutex_) = nullptr;
  SessionNumber number_ GUARDED_BY(mutex_) = 0;  // 0: not welcomed yet.
  SessionNumber streams_ GUARDED_BY(mutex_) = 0;
  bool registered_ GUARDED_BY(mutex_) = false;
  bool writing_ GUARDED_BY(mutex_) = false;
  std::optional<v1::AgentMessage> first_ GUARDED_BY(mutex_);
  std::optional<Report> under_way_ GUARDED_BY(mutex_);
  bool heartbeat_due_ GUARDED_BY(mutex_) = false;
  std::chrono::milliseconds heartbeat_ GUARDED_BY(mutex_) = kHeartbeat;
  std::optional<Status> done_ GUARDED_BY(mutex_);
  Outbox outbox_ GUARDED_BY(mutex_);
  std::shared_ptr<v1::AgentLink::Stub> stub_ GUARDED_BY(mutex_);
  std::map<std::uint64_t, std::unique_ptr<LogPush>> pushes_ GUARDED_BY(mutex_);
  std::set<std::uint64_t> finished_pushes_ GUARDED_BY(mutex_);
  DoorErrands errands_;

  std::jthread thread_;
};

// ---- the session's thread -----------------------------------------------------------------------

void AgentSession::Link::Main() {
  auto backoff = kBackoffFirst;
  bool said_closed = false;
  for (;;) {
    const TimePoint began = RealClock().Now();
    const Status status = RunStream();
    bool had_stream = false;
    {
      const MutexLock lock(mutex_);
      if (stopping_) return;
      had_stream = number_ != 0;
      number_ = 0;
    }
    if (had_stream) said_closed = false;
    // One that is sent away at once is not to hammer.
    if (RealClock().Now() - began > kBackoffMost) backoff = kBackoffFirst;
    if (!said_closed && config_.closed) {
      const MutexLock lock(callbacks_);
      config_.closed(status);
    }
    said_closed = true;
    mutex_.lock();
    wake_.wait_for(mutex_, backoff, [&] { return stopping_; });
    mutex_.unlock();
    backoff = std::min(backoff * 2, kBackoffMost);
  }
}

Result<std::shared_ptr<grpc::Channel>> AgentSession::Link::Connect() {
  std::string address = config_.address;
  if (address.empty()) {
    auto read = ReadFile(config_.address_file);
    if (!read.ok()) return std::move(read).status().While("looking for the coordinator");
    address = Split(*read, '\n')[0];
  }
  if (address.empty()) return Status(Code::kUnavailable, config_.address_file + " is empty");
  return OpenChannel(address, config_.credentials);
}

Status AgentSession::Link::RunStream() {
  const auto channel = Connect();
  if (!channel.ok()) return channel.status();
  Stream stream(*this);
  {
    const MutexLock lock(mutex_);
    if (stopping_) return Status(Code::kAborted, "stopping");
    stub_ = v1::AgentLink::NewStub(*channel);
    stream_ = &stream;
    registered_ = writing_ = heartbeat_due_ = false;
    done_.reset();
  }
  stream.Begin(*stub_);
  TendWhileOpen(stream);
  EndPushes();
  const MutexLock lock(mutex_);
  stub_.reset();
  first_.reset();
  if (under_way_) outbox_.Return(*std::exchange(under_way_, std::nullopt));
  outbox_.Broke();
  return *done_;
}

void AgentSession::Link::TendWhileOpen(Stream& stream) {
  TimePoint next_beat = RealClock().Now() + kHeartbeat;
  bool cancelled = false;
  mutex_.lock();
  while (!done_) {
    if (stopping_ && !cancelled) {
      cancelled = true;
      stream.Cancel();
    }
    const bool following = std::any_of(pushes_.begin(), pushes_.end(),
                                       [](const auto& push) { return push.second->resting(); });
    const TimePoint now = RealClock().Now();
    wake_.wait_until(mutex_, following ? std::min(next_beat, now + kLogTick) : next_beat);
    if (RealClock().Now() >= next_beat) {
      heartbeat_due_ = registered_;
      Pump();
      next_beat = RealClock().Now() + heartbeat_;
    }
    Reap();
    for (const auto& [want, push] : pushes_) push->Tick();
  }
  mutex_.unlock();
}

void AgentSession::Link::EndPushes() {
  errands_.EndAll();
  mutex_.lock();
  for (const auto& [want, push] : pushes_) push->Abandon();
  for (Reap(); !pushes_.empty(); Reap()) {
    wake_.wait(mutex_, [&] { return !finished_pushes_.empty(); });
  }
  mutex_.unlock();
}

void AgentSession::Link::Reap() {
  for (const std::uint64_t want : std::exchange(finished_pushes_, {})) pushes_.erase(want);
}

// ---- gRPC's threads -----------------------------------------------------------------------------

void AgentSession::Link::Heard(const v1::CoordinatorMessage& message) {
  switch (message.what_case()) {
    case v1::CoordinatorMessage::kWelcome:
      Welcomed(message.welcome());
      break;
    case v1::CoordinatorMessage::kOrder:
      Ordered(message.order());
      break;
    case v1::CoordinatorMessage::kLogWanted:
      Wanted(message.log_wanted());
      break;
    case v1::CoordinatorMessage::kExecWanted: {
      const MutexLock lock(callbacks_);
      if (config_.exec) config_.exec(FromProto(message.exec_wanted()));
      break;
    }
    case v1::CoordinatorMessage::kInputWanted: {
      const MutexLock lock(callbacks_);
      if (config_.exec) config_.exec(FromProto(message.input_wanted()));
      break;
    }
    case v1::CoordinatorMessage::kLogEnough: {
      const MutexLock lock(mutex_);
      const auto push = pushes_.find(message.log_enough().want());
      if (push != pushes_.end()) push->second->Enough();
      break;
    }
    default:
      break;  // Of a newer coordinator.
  }
}

void AgentSession::Link::Welcomed(const v1::Welcome& welcome) {
  SessionNumber number = 0;
  {
    const MutexLock lock(mutex_);
    if (welcome.heartbeat_ms() != 0) heartbeat_ = std::chrono::milliseconds(welcome.heartbeat_ms());
    // Our own: a coordinator's numbers begin anew in each of its lives.
    number = number_ = ++streams_;
  }
  const MutexLock lock(callbacks_);
  if (config_.opened) config_.opened(number);
}

void AgentSession::Link::Ordered(const v1::OrderFor& order) {
  auto decoded = DecodeVariant<Order>(order.order());
  // One that cannot be read, or of a newer coordinator: not obeyed, and told again when it matters.
  if (!decoded.ok() || !*decoded) return;
  const MutexLock lock(callbacks_);
  if (config_.order) config_.order(order.incarnation(), **std::move(decoded));
}

void AgentSession::Link::Wanted(const v1::LogWanted& wanted) {
  if (!config_.open_logs) return;
  std::unique_ptr<LogSource> source;
  {
    const MutexLock lock(callbacks_);
    source = config_.open_logs(FromProto(wanted));
  }
  const std::uint64_t want = wanted.want();
  const MutexLock lock(mutex_);
  if (stream_ == nullptr || !source || pushes_.size() >= kPushesMost) return;
  auto push = std::make_unique<LogPush>(want, std::move(source), wanted.follow(), [this, want] {
    const MutexLock done(mutex_);
    finished_pushes_.insert(want);
    wake_.notify_all();
  });
  push->Begin(*stub_);
  pushes_[want] = std::move(push);
  wake_.notify_all();
}

void AgentSession::Link::Pump() {
  if (stream_ == nullptr || writing_ || !registered_) return;
  v1::AgentMessage message;
  if (first_) {
    message = *std::exchange(first_, std::nullopt);
  } else if (heartbeat_due_) {
    heartbeat_due_ = false;
    message.mutable_heartbeat();
  } else if (auto report = outbox_.Take(); report) {
    message.set_report(EncodeVariant(*report));
    under_way_ = std::move(report);
  } else {
    return;
  }
  writing_ = true;
  stream_->Write(std::move(message));
}

void AgentSession::Link::Written(bool ok) {
  const MutexLock lock(mutex_);
  writing_ = false;
  if (!ok) return;  // The read side is about to end, too.
  under_way_.reset();
  Pump();
}

void AgentSession::Link::ReadsEnded() {
  const MutexLock lock(mutex_);
  stream_ = nullptr;
}

void AgentSession::Link::StreamDone(const grpc::Status& status) {
  const MutexLock lock(mutex_);
  done_ = Status(Code::kUnavailable,
                 status.ok() ? "the coordinator ended the session" : status.error_message());
  wake_.notify_all();
}

AgentSession::AgentSession(SessionConfig config)
    : link_(std::make_unique<Link>(std::move(config))) {}
AgentSession::~AgentSession() = default;

void AgentSession::Register(SessionNumber number, const Registration& registration) {
  link_->Register(number, registration);
}

void AgentSession::Send(const Report& report) {
  link_->Send(report);
}

void AgentSession::RunExec(const ExecWish& wish, const Result<ExecDoorPlace>& door) {
  link_->RunExec(wish, door);
}

}  // namespace muster
