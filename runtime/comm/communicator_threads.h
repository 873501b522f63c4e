// One NCCL communicator from its making to its end, non-blocking all along.
//
// Used by one thread, the engine's; only what AbortAside starts is another's.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "runtime/comm/nccl_library_nccl.h"

namespace muster {

class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  enum class State { kPending, kReady, kFailed };

  // Each begins to make one; Poll says when it is there.
  static std::shared_ptr<Communicator> Init(std::shared_ptr<const NcclLibrary> nccl,
                                            const NcclUniqueId& id, int rank, int ranks);
  // A part of this one, which must be ready, and is used again when the part is.  Collective.
  // Null in the result: `color` is kNcclNoColor, and the split has ended.
  std::shared_ptr<Communicator> Split(int color, int key);
  // Without the `lost` ranks, who do not call.
  std::shared_ptr<Communicator> Shrink(std::span<const int> lost);

  explicit Communicator(std::shared_ptr<const NcclLibrary> nccl) : nccl_(std::move(nccl)) {}
  // Aborts, on a thread of its own, what was neither aborted nor closed.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  State Poll();
  // Once it failed, or a call did.
  const Status& why() const { return why_; }
  bool there() const { return comm_ != nullptr; }

  // Runs `call`, one group of operations, which returns a result of NCCL.  Then it is pending: the
  // operations are in their stream when it is ready again.
  template <typename Call>
  Status Enqueue(const std::string& doing, Call call) {
    return Take(doing, call(comm_));
  }

  // Ends what is under way here.  On a thread of its own, since it may take for ever; released()
  // says when it has ended.  Nothing else may be called then, but Shrink after a revoke.
  void AbortAside();
  // The same, but the communicator stays, for Shrink; an abort where this NCCL cannot.
  void RevokeAside();
  bool released() const { return released_->load(); }
  bool revoked() const { return revoked_; }

  // An end in good order, as far as it gets without waiting: true when it has ended.
  bool Close();

 private:
  Status Take(const std::string& doing, NcclResult result);
  NcclResult AsyncError(NcclComm comm) const;

  const std::shared_ptr<const NcclLibrary> nccl_;
  NcclComm comm_ = nullptr;
  NcclConfig config_;
  std::shared_ptr<Communicator> parent_;  // While it makes this one.
  bool parted_ = false;                   // The parent has: comm_ is there, or never will be.
  bool finalizing_ = false, closed_ = false, revoked_ = false;
  Status why_;
  std::shared_ptr<std::atomic<bool>> released_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace muster
