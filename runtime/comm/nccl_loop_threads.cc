#include "runtime/comm/nccl_loop_threads.h"

#include <algorithm>

#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

constexpr auto kLookAtAttempt = std::chrono::milliseconds(100);
constexpr auto kTellAfter = std::chrono::seconds(2);
constexpr int kFastLooks = 100;  // Then the core is given away between two looks.

Status Closed() {
  return Status(Code::kAborted, "the group was closed before the call had ended");
}

}  // namespace

std::string NameOf(const Call& call) {
  return Describe(SignatureOf(call.collective)) + " (call " + std::to_string(call.seq) + ")";
}

void NcclState::End(NcclPending& pending, const Status& status) {
  const Call& call = pending.call;
  if (call.observer != nullptr && !call.collective.IsTransfer()) {
    call.observer->Ended(call.seq, call.collective, status);
  }
  {
    MutexLock lock(mutex);
    pending.ended = true;
    pending.status = status;
    pending.operation = nullptr;
  }
  changed.notify_all();
}

void NcclState::Fail(const Status& status) {
  abort.Set(status);
  MutexLock lock(mutex);
  if (outer != nullptr) outer->Set(status);
}

NcclLoop::NcclLoop(std::shared_ptr<NcclState> state)
    : state_(std::move(state)),
      parts_(state_->parts),
      transfers_(parts_, state_->group.name, state_->group.rank),
      blame_(*parts_.store, state_->group.name, state_->group.rank, state_->group.ranks) {}

void NcclLoop::Run() {
  const Status device = parts_.cuda->StatusOf("choosing the GPU",
                                              parts_.cuda->api().set_device(parts_.options.device));
  if (!device.ok()) state_->Fail(device);
  int quiet = 0;
  while (TakeIn()) {
    const bool moved = Turn();
    quiet = moved ? 0 : quiet + 1;
    if (quiet > kFastLooks) PauseShort();
  }
  Close();
}

// Waits for a communicator as for anything: polls it, the abort, the attempt and the deadline.
Status NcclLoop::Await(Communicator& communicator, const std::string& doing) {
  const TimePoint deadline = RealClock().Now() + parts_.options.init_timeout;
  for (;;) {
    const Communicator::State state = communicator.Poll();
    if (state == Communicator::State::kReady) return {};
    if (state == Communicator::State::kFailed) return Status(communicator.why()).While(doing);
    if (state_->abort.set() && !stopped_) return state_->abort.reason();
    const TimePoint now = RealClock().Now();
    LookAtAttempt(now);
    if (now >= deadline) return Status(Code::kDeadline, doing + " did not end in time");
    PauseShort();
  }
}

Status NcclLoop::Open(const NcclUniqueId& id) {
  const NcclGroupName& group = state_->group;
  auto made = Communicator::Init(parts_.nccl, id, group.rank, group.ranks);
  blame_.Tell(0);
  Status status = Await(*made, "making the group of " + std::to_string(group.ranks) + " ranks");
  if (!status.ok()) {
    const std::string missing = blame_.Missing(0, kBlamePatience);
    if (!missing.empty()) status = Status(status.code(), status.message() + ": " + missing);
    return status;
  }
  Open(std::move(made));
  return {};
}

void NcclLoop::Open(std::shared_ptr<Communicator> communicator) {
  main_ = std::make_unique<OperationLane>(parts_, std::move(communicator));
}

// False: the group is closing, and nothing is left to do.
bool NcclLoop::TakeIn() {
  std::deque<std::shared_ptr<NcclPending>> submitted;
  std::deque<std::function<void(NcclLoop&)>> commands;
  {
    MutexLock lock(state_->mutex);
    while (idle() && state_->submitted.empty() && state_->commands.empty() && !state_->closing &&
           (stopped_ || !state_->abort.set())) {
      state_->changed.wait(state_->mutex);
    }
    submitted.swap(state_->submitted);
    commands.swap(state_->commands);
    if (state_->closing && idle() && submitted.empty() && commands.empty()) return false;
    if (state_->closing) state_->abort.Set(Closed());
  }
  for (const auto& pending : submitted) Begin(pending);
  for (const auto& command : commands) command(*this);
  return true;
}

void NcclLoop::Begin(const std::shared_ptr<NcclPending>& pending) {
  const auto operation = pending->operation;
  const auto end = [state = state_, pending](const Status& status) {
    state->End(*pending, status);
  };
  if (state_->abort.set()) return end(state_->abort.reason());
  if (main_ == nullptr) return end(Status(Code::kInternal, "the group was not opened"));
  if (pending->call.collective.IsTransfer()) return transfers_.Push(operation, end);
  const NcclGroupName& group = state_->group;
  const Status planned = operation->PlanCollective(group.rank, group.ranks);
  if (!planned.ok()) {
    // The others go on without this rank.
    state_->Fail(planned);
    return end(planned);
  }
  main_->Push(operation, end);
}

bool NcclLoop::Turn() {
  const TimePoint now = RealClock().Now();
  if (!state_->abort.set()) LookAtAttempt(now);
  if (state_->abort.set()) {
    if (!stopped_) Stop();
    return true;
  }
  bool moved = main_ != nullptr && main_->Advance(now);
  moved = transfers_.Advance(now) || moved;
  if (state_->abort.set()) return true;
  if (main_ != nullptr && !main_->broken().ok()) {
    state_->Fail(Explained(main_->broken()));
  } else if (const Status broken = transfers_.broken(); !broken.ok()) {
    state_->Fail(broken);
  } else {
    LookAtDeadline(now);
  }
  return moved;
}

void NcclLoop::LookAtAttempt(TimePoint now) {
  if (!parts_.options.attempt || now < next_look_) return;
  next_look_ = now + kLookAtAttempt;
  const Status attempt = parts_.options.attempt();
  if (!attempt.ok()) state_->Fail(attempt);
}

void NcclLoop::LookAtDeadline(TimePoint now) {
  Operation* oldest = main_ == nullptr ? nullptr : main_->oldest();
  if (oldest == nullptr) return;
  const Duration waited = now - oldest->began;
  if (!oldest->told && waited > std::min<Duration>(kTellAfter, oldest->call.timeout / 4)) {
    oldest->told = true;
    blame_.Tell(oldest->call.seq);
  }
  if (waited < oldest->call.timeout) return;
  const std::string missing = blame_.Missing(oldest->call.seq, kBlamePatience);
  state_->Fail(Status(Code::kDeadline,
                      NameOf(oldest->call) + ": " +
                          (missing.empty() ? "all ranks came, but it does not end" : missing)));
}

// An error of the communicator says what, not who: who has not come may be why.
Status NcclLoop::Explained(const Status& status) {
  const Operation* oldest = main_->oldest();
  if (oldest == nullptr || status.code() == Code::kInvalid) return status;
  blame_.Tell(oldest->call.seq);
  const std::string missing = blame_.Missing(oldest->call.seq, kBlamePatience);
  return Status(status.code(), NameOf(oldest->call) + ": " + status.message() +
                                   (missing.empty() ? "" : "; " + missing));
}

// Once: lets go of the GPU, waits for that as long as patience says, and ends all that is left.
void NcclLoop::Stop() {
  stopped_ = true;
  if (main_ != nullptr) main_->Stop(true);
  transfers_.Stop();
  const TimePoint deadline = RealClock().Now() + parts_.options.patience;
  while ((main_ != nullptr && !main_->Stopped()) || !transfers_.Stopped()) {
    if (RealClock().Now() >= deadline) break;
    PauseShort();
  }
  const Status reason = state_->abort.reason();
  if (main_ != nullptr) main_->EndAll(reason);
  transfers_.EndAll(reason);
}

void NcclLoop::Close() {
  if (state_->abort.set() && !stopped_) Stop();
  if (stopped_) return;  // Communicators abort what is left of them; registered memory stays.
  FreeMemory();
  const TimePoint deadline = RealClock().Now() + parts_.options.patience;
  for (;;) {
    const bool main = main_ == nullptr || main_->Close();
    if (transfers_.Close() && main) return;
    if (RealClock().Now() >= deadline) return;
    PauseShort();
  }
}

Status NcclLoop::Allocate(std::size_t bytes, void** memory) {
  const NcclApi& api = parts_.nccl->api();
  const NcclFeatures& features = parts_.nccl->features();
  const std::size_t pages =
      std::max<std::size_t>(1, (bytes + kNcclWindowAlignment - 1) / kNcclWindowAlignment);
  const std::size_t size = pages * kNcclWindowAlignment;
  Memory& made = memory_.emplace_back();
  if (features.own_memory) {
    RETURN_IF_ERROR(parts_.nccl->StatusOf("ncclMemAlloc", api.mem_alloc(&made.memory, size)));
  } else {
    RETURN_IF_ERROR(
        parts_.cuda->StatusOf("memory of the GPU", parts_.cuda->api().malloc(&made.memory, size)));
  }
  *memory = made.memory;
  if (!features.symmetric_memory) return {};
  Communicator& communicator = *main_->communicator();
  RETURN_IF_ERROR(Await(communicator, "symmetric memory"));
  RETURN_IF_ERROR(communicator.Enqueue("ncclCommWindowRegister", [&](NcclComm comm) {
    return api.comm_window_register(comm, made.memory, size, &made.window,
                                    kNcclWindowCollSymmetric);
  }));
  return Await(communicator, "symmetric memory");
}

void NcclLoop::FreeMemory() {
  const NcclApi& api = parts_.nccl->api();
  for (const Memory& one : memory_) {
    if (one.memory == nullptr) continue;
    if (one.window != nullptr) {
      Communicator& communicator = *main_->communicator();
      const auto deregister = [&](NcclComm comm) {
        return api.comm_window_deregister(comm, one.window);
      };
      Status gone = communicator.Enqueue("ncclCommWindowDeregister", deregister);
      if (gone.ok()) gone = Await(communicator, "symmetric memory");
      if (!gone.ok()) return;
    }
    static_cast<void>(parts_.nccl->features().own_memory
                          ? static_cast<int>(api.mem_free(one.memory))
                          : static_cast<int>(parts_.cuda->api().free(one.memory)));
  }
}

Status NcclLoop::Split(int color, int key, std::shared_ptr<Communicator>* part) {
  const auto& whole = main_->communicator();
  RETURN_IF_ERROR(Await(*whole, "the split"));
  *part = whole->Split(color, key);
  Status status = Await(**part, "the split");
  // NCCL may still write its handle there.
  if (!status.ok()) static_cast<void>(new std::shared_ptr<Communicator>(*part));  // NOLINT: so.
  return status;
}

Status NcclLoop::Shrink(const std::vector<int>& lost, std::shared_ptr<Communicator>* part) {
  *part = nullptr;
  if (main_ == nullptr) return {};
  if (!idle()) state_->Fail(Status(Code::kAborted, "the group was shrunk"));
  if (state_->abort.set() && !stopped_) Stop();
  const auto& whole = main_->communicator();
  const bool usable = !stopped_ || (whole->revoked() && whole->released());
  if (!parts_.nccl->features().shrink || !usable) {
    state_->Fail(Status(Code::kAborted, "the group was shrunk"));
    if (!stopped_) Stop();
    return {};
  }
  auto smaller = whole->Shrink(lost);
  const Status status = Await(*smaller, "the shrink");
  if (!status.ok()) {
    // As in Split.
    static_cast<void>(new std::shared_ptr<Communicator>(smaller));  // NOLINT: so.
    return status;
  }
  *part = std::move(smaller);
  return {};
}

}  // namespace muster
