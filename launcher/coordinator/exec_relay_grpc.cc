#include "launcher/coordinator/exec_relay_grpc.h"

namespace muster {
namespace {

constexpr std::size_t kEvents = 4;

}  // namespace

// ---- who asked ----------------------------------------------------------------------------------

void ExecStream::Expect(std::uint64_t id, const NodeName& node) {
  const MutexLock lock(mutex_);
  if (open()) relays_.Expect(id, node, weak_from_this());
}

ExecStream::Room ExecStream::Push(v1::PushedExec pushed,
                                  const std::shared_ptr<PushExecStream>& from) {
  const MutexLock lock(mutex_);
  if (!open()) return Room::kGone;
  from_ = from;
  if (pushed.ended() || !pushed.data().empty()) {
    v1::ExecEvent& event = events_.emplace_back();
    event.set_is_stderr(pushed.is_stderr());
    event.set_data(std::move(*pushed.mutable_data()));
    event.set_ended(pushed.ended());
    event.set_exit(pushed.exit());
    event.set_failure(pushed.failure());
    Pump();
  }
  waits_ = events_.size() >= kEvents;
  return waits_ ? Room::kWait : Room::kMore;
}

bool ExecStream::Next(v1::ExecEvent* out) {
  if (events_.empty()) return false;
  *out = std::move(events_.front());
  events_.pop_front();
  if (const auto from = from_.lock(); from && std::exchange(waits_, false)) from->ReadOn();
  return true;
}

// Whoever asked is gone: the agent is told, and ends the program.
void ExecStream::Dropped() {
  events_.clear();
  if (const auto from = from_.lock()) {
    from->FinishOnce(Status(Code::kNotFound, "nobody waits for it any more"));
  }
}

void ExecStream::Gone() {
  relays_.Forget(id_);
  loop_.PostAlways([id = id_](Front& front, const Moment&) { front.CloseExec(id); });
}

// ---- who runs it --------------------------------------------------------------------------------

void PushExecStream::Begin(std::shared_ptr<PushExecStream> self, const Status& status) {
  self_ = std::move(self);
  if (status.ok()) return ReadOn();
  FinishOnce(status);
}

void PushExecStream::ReadOn() {
  const MutexLock lock(mutex_);
  if (!finished_) StartRead(&in_);
}

void PushExecStream::FinishOnce(const Status& status) {
  const MutexLock lock(mutex_);
  if (finished_) return;
  finished_ = true;
  Finish(ToGrpc(status));
}

void PushExecStream::OnReadDone(bool ok) {
  if (!ok) return FinishOnce({});
  const auto caller = Caller(in_.id());
  const bool ended = in_.ended();
  ExecStream::Room room = ExecStream::Room::kGone;
  if (caller) room = caller->Push(std::move(in_), shared_from_this());
  if (ended && caller) caller->End({});
  if (ended) return FinishOnce({});
  if (room == ExecStream::Room::kMore) ReadOn();
  if (room == ExecStream::Room::kGone) {
    FinishOnce(Status(Code::kNotFound, "nobody waits for it any more"));
  }
}

// Found once, with the first message.
std::shared_ptr<ExecStream> PushExecStream::Caller(std::uint64_t id) {
  const MutexLock lock(mutex_);
  if (!asked_ && id != 0) caller_ = relays_.Find(id, node_);
  asked_ = asked_ || id != 0;
  return caller_.lock();
}

void PushExecStream::OnCancel() {
  if (const auto caller = Caller(0)) {
    caller->End(Status(Code::kAborted, "the agent of node " + node_ + " went away"));
  }
  FinishOnce(Status(Code::kAborted, "the agent is gone"));
}

void PushExecStream::OnDone() {
  const std::shared_ptr<PushExecStream> last = std::move(self_);
}

// ---- which is whose -----------------------------------------------------------------------------

}  // namespace muster
