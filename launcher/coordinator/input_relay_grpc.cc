#include "launcher/coordinator/input_relay_grpc.h"

namespace muster {

// ---- who gives it -------------------------------------------------------------------------------

void InputStream::OnReadDone(bool ok) {
  if (!ok) return EndWith({});  // It is gone, or closed its side without a last piece.
  if (job_ == 0) {
    job_ = in_.job();
    const bool posted =
        loop_.Post([self = shared_from_this(), job = job_](Front& front, const Moment&) {
          const auto it = front.state().jobs.find(job);
          const Status may = it == front.state().jobs.end()
                                 ? Status()
                                 : MayTouch(self->identity_, it->second.owner.uid);
          if (!may.ok()) self->EndWith(may);
          if (may.ok()) front.OfferInput(self->id_, job, self);
        });
    if (!posted) EndWith(Status(Code::kExhausted, "the coordinator is busy; try again"));
    return;
  }
  std::shared_ptr<PullStream> to;
  {
    const MutexLock lock(mutex_);
    to = to_.lock();
  }
  if (to) to->Give(std::move(in_));
}

bool InputStream::Attach(const std::shared_ptr<PullStream>& to) {
  {
    const MutexLock lock(mutex_);
    if (!open() || words_due_ > 1) return false;
    to_ = to;
  }
  loop_.PostAlways([id = id_](Front& front, const Moment&) { front.InputAttached(id); });
  Say(2);
  ReadOn();
  return true;
}

void InputStream::ReadOn() {
  const MutexLock lock(mutex_);
  if (open()) StartRead(&in_);
}

void InputStream::Expect(std::uint64_t id, const NodeName& node) {
  relays_.Expect(id, node, weak_from_this());
}

void InputStream::Say(int words) {
  const MutexLock lock(mutex_);
  words_due_ = words;
  Pump();
}

bool InputStream::Next(v1::InputWord* out) {
  if (words_said_ == words_due_) return false;
  out->set_attached(++words_said_ == 2);
  return true;
}

void InputStream::Gone() {
  relays_.Forget(id_);
  loop_.PostAlways([id = id_](Front& front, const Moment&) { front.CloseInput(id); });
  std::shared_ptr<PullStream> to;
  {
    const MutexLock lock(mutex_);
    to = to_.lock();
  }
  if (to) to->EndWith(Status(Code::kNotFound, "nobody gives it any more"));
}

// ---- who pulls it -------------------------------------------------------------------------------

void PullStream::Begin(const Status& status) {
  if (!status.ok()) return EndWith(status);
  StartRead(&in_);
}

void PullStream::OnReadDone(bool ok) {
  if (!ok) return EndWith({});
  const std::optional<Status> end = Heard();
  if (end) return EndWith(*end);
  const MutexLock lock(mutex_);
  if (open()) StartRead(&in_);
}

std::optional<Status> PullStream::Heard() {
  if (!std::exchange(heard_, true)) {
    const auto found = relays_.Find(in_.id(), node_);
    if (!found) return Status(Code::kNotFound, "nobody gives any");
    {
      const MutexLock lock(mutex_);
      giver_ = found;
    }
    closed_ = in_.closed() || !in_.failure().empty();
    if (closed_) {
      found->End(in_.failure().empty() ? Status() : Status(Code::kAborted, in_.failure()));
      return Status();
    }
    if (!found->Attach(shared_from_this())) return Status(Code::kNotFound, "nobody gives any");
  }
  if (!in_.closed()) return std::nullopt;
  closed_ = true;
  if (const auto known = giver()) known->End({});
  return Status();
}

void PullStream::Give(v1::InputPiece piece) {
  const MutexLock lock(mutex_);
  piece_ = std::move(piece);
  Pump();
}

std::shared_ptr<InputStream> PullStream::giver() {
  const MutexLock lock(mutex_);
  return giver_.lock();
}

bool PullStream::Next(v1::InputPiece* out) {
  if (piece_) {
    *out = *std::exchange(piece_, std::nullopt);
    under_way_ = true;
    return true;
  }
  if (std::exchange(under_way_, false)) {
    if (const auto known = giver_.lock()) known->ReadOn();
  }
  return false;
}

void PullStream::Gone() {
  const auto known = giver();
  if (!known || closed_) return;
  known->End(
      Status(Code::kAborted, "the agent of node " + node_ + ", where rank 0 runs, went away"));
}

}  // namespace muster
