#include <thread>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/comm/communicator_threads.h"
#include "runtime/comm/pause_posix.h"

namespace muster {

std::shared_ptr<Communicator> Communicator::Init(std::shared_ptr<const NcclLibrary> nccl,
                                                 const NcclUniqueId& id, int rank, int ranks) {
  auto made = std::make_shared<Communicator>(std::move(nccl));
  const auto& api = made->nccl_->api();
  static_cast<void>(
      made->Take("ncclCommInitRankConfig",
                 api.comm_init_rank_config(&made->comm_, ranks, id, rank, &made->config_)));
  return made;
}

std::shared_ptr<Communicator> Communicator::Split(int color, int key) {
  auto part = std::make_shared<Communicator>(nccl_);
  const NcclResult result =
      nccl_->api().comm_split(comm_, color, key, &part->comm_, &part->config_);
  static_cast<void>(Take("ncclCommSplit", result));
  part->parent_ = shared_from_this();
  return part;
}

std::shared_ptr<Communicator> Communicator::Shrink(std::span<const int> lost) {
  auto part = std::make_shared<Communicator>(nccl_);
  std::vector<int> excluded(lost.begin(), lost.end());
  const NcclResult result =
      nccl_->api().comm_shrink(comm_, excluded.data(), static_cast<int>(excluded.size()),
                               &part->comm_, &part->config_, revoked_ ? 0 : kNcclShrinkAbort);
  why_ = {};
  static_cast<void>(Take("ncclCommShrink", result));
  part->parent_ = shared_from_this();
  return part;
}

Communicator::~Communicator() {
  if (comm_ != nullptr && !closed_) AbortAside();
}

NcclResult Communicator::AsyncError(NcclComm comm) const {
  NcclResult state = kNcclSuccess;
  const NcclResult asked = nccl_->api().comm_get_async_error(comm, &state);
  return asked == kNcclSuccess ? state : asked;
}

Status Communicator::Take(const std::string& doing, NcclResult result) {
  if (result == kNcclSuccess || result == kNcclInProgress) return {};
  Status status = nccl_->StatusOf(doing, result, comm_);
  if (why_.ok()) why_ = status;
  return status;
}

Communicator::State Communicator::Poll() {
  if (!why_.ok()) return State::kFailed;
  if (parent_ != nullptr) {
    const State parent = parent_->Poll();
    if (parent == State::kFailed) why_ = parent_->why();
    if (parent != State::kReady) return parent;
    parent_ = nullptr;
    parted_ = true;
  }
  if (comm_ == nullptr) return parted_ ? State::kReady : State::kPending;
  const NcclResult state = AsyncError(comm_);
  if (state == kNcclInProgress) return State::kPending;
  if (state == kNcclSuccess) return State::kReady;
  why_ = nccl_->StatusOf("NCCL", state, comm_);
  return State::kFailed;
}

void Communicator::AbortAside() {
  if (comm_ == nullptr || closed_) {
    released_->store(true);
    return;
  }
  closed_ = true;
  std::thread([nccl = nccl_, comm = comm_, released = released_] {
    static_cast<void>(nccl->api().comm_abort(comm));
    released->store(true);
  }).detach();
}

void Communicator::RevokeAside() {
  const auto& api = nccl_->api();
  const bool whole = parent_ == nullptr && comm_ != nullptr && !closed_;
  if (!whole || !nccl_->features().revoke || !nccl_->features().shrink) return AbortAside();
  revoked_ = true;
  std::thread([self = shared_from_this(), &api] {
    NcclResult result = api.comm_revoke(self->comm_, 0);
    const TimePoint deadline = RealClock().Now() + std::chrono::seconds(2);
    while ((result == kNcclInProgress || result == kNcclSuccess) && RealClock().Now() < deadline) {
      result = self->AsyncError(self->comm_);
      if (result == kNcclSuccess) break;
      PauseShort();
    }
    self->released_->store(true);
  }).detach();
}

bool Communicator::Close() {
  if (comm_ == nullptr || closed_) return true;
  if (!finalizing_) {
    finalizing_ = true;
    if (!Take("ncclCommFinalize", nccl_->api().comm_finalize(comm_)).ok()) {
      AbortAside();
      return true;
    }
  }
  const State state = Poll();
  if (state == State::kPending) return false;
  if (state == State::kFailed) {
    AbortAside();
    return true;
  }
  closed_ = true;
  static_cast<void>(nccl_->api().comm_destroy(comm_));
  return true;
}

}  // namespace muster
