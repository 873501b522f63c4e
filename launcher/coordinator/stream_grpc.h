// One outgoing stream of the server: messages queue up, one is under way, then the end.
//
// A subclass says what to write next.  Any thread may push and end; gRPC's threads call back.  The
// stream keeps itself alive until gRPC is done with it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "launcher/coordinator/peer_grpc.h"
#include "runtime/base/mutex.h"

namespace muster {

template <typename Reactor, typename Out>
class OutStream : public Reactor {
 public:
  // Call once, right after make_shared; then return get() to gRPC.
  void KeepAlive(std::shared_ptr<void> self) { self_ = std::move(self); }

  // Everything queued goes out first, unless the peer is gone.
  void EndWith(const Status& status) {
    const MutexLock lock(mutex_);
    if (!end_) end_ = ToGrpc(status);
    Pump();
  }

  void OnWriteDone(bool ok) final {
    const MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) Break();
    Pump();
  }
  void OnCancel() final {
    const MutexLock lock(mutex_);
    Break();
    Pump();
  }
  void OnDone() final {
    Gone();
    const std::shared_ptr<void> last = std::move(self_);
  }

 protected:
  // Fills in the next message; false when there is none now.
  virtual bool Next(Out* out) REQUIRES(mutex_) = 0;
  // The peer is gone: drop what waits.
  virtual void Dropped() REQUIRES(mutex_) {}
  // gRPC will not call again.
  virtual void Gone() = 0;

  // Call after there may be something new to write.
  void Pump() REQUIRES(mutex_) {
    if (writing_ || finished_) return;
    if (!broken_) {
      out_.Clear();
      if (Next(&out_)) {
        writing_ = true;
        this->StartWrite(&out_);
        return;
      }
    }
    if (!end_) return;
    finished_ = true;
    this->Finish(*end_);
  }

  bool open() const REQUIRES(mutex_) { return !finished_ && !broken_ && !end_; }
  bool finished() const REQUIRES(mutex_) { return finished_; }

  mutable Mutex mutex_;

 private:
  void Break() REQUIRES(mutex_) {
    broken_ = true;
    if (!end_) end_ = grpc::Status(grpc::CANCELLED, "the peer is gone");
    Dropped();
  }

  Out out_;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool broken_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ GUARDED_BY(mutex_);
  std::shared_ptr<void> self_;
};

}  // namespace muster
