#include "runtime/comm/nccl_engine_threads.h"

#include <vector>

#include "runtime/base/check.h"
#include "runtime/comm/nccl_loop_threads.h"

namespace muster {
namespace {

constexpr auto kBlamePatience = NcclLoop::kBlamePatience;

}  // namespace

class NcclEngine::PendingWork final : public Work {
 public:
  PendingWork(std::shared_ptr<NcclState> state, std::shared_ptr<NcclPending> pending)
      : Work(pending->call.seq), state_(std::move(state)), pending_(std::move(pending)) {}

  bool done() override {
    MutexLock lock(state_->mutex);
    return pending_->ended;
  }

  Status wait(Duration timeout) override {
    const TimePoint deadline = RealClock().Now() + timeout;
    MutexLock lock(state_->mutex);
    while (!pending_->ended) {
      if (RealClock().Now() >= deadline) {
        return Status(Code::kDeadline, NameOf(pending_->call) + " has not ended yet");
      }
      state_->changed.wait_until(state_->mutex, deadline);
    }
    return pending_->status;
  }

 private:
  const std::shared_ptr<NcclState> state_;
  const std::shared_ptr<NcclPending> pending_;
};

NcclEngine::NcclEngine(const NcclSession::Parts& parts, NcclGroupName group, AbortFlag& abort)
    : state_(std::make_shared<NcclState>(parts, std::move(group), &abort)) {
  thread_ = std::thread([state = state_] {
    { NcclLoop(state).Run(); }
    MutexLock lock(state->mutex);
    state->exited = true;
    state->changed.notify_all();
  });
}

NcclEngine::~NcclEngine() {
  // Joined, it has let go of the session's memory too: nothing of it is freed behind our back.
  if (Close()) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

// False: the thread hangs, inside a call of NCCL or CUDA.
bool NcclEngine::Close() {
  MutexLock lock(state_->mutex);
  state_->closing = true;
  state_->outer = nullptr;
  state_->changed.notify_all();
  // The thread itself waits for patience twice at most, unless a call hangs.
  const TimePoint deadline = RealClock().Now() + 4 * state_->parts.options.patience;
  while (!state_->exited && RealClock().Now() < deadline) {
    state_->changed.wait_until(state_->mutex, deadline);
  }
  if (state_->exited) return true;
  state_->abort.Set(Status(Code::kAborted, "the group was closed"));
  state_->parts.scratch->Abandon();
  return false;
}

const NcclGroupName& NcclEngine::group() const {
  return state_->group;
}

void NcclEngine::Abort(const Status& reason) {
  state_->abort.Set(reason);
  MutexLock lock(state_->mutex);
  state_->changed.notify_all();
}

// Runs on the thread; whoever asks waits for it, unless it hangs.
Status NcclEngine::Ask(const std::string& doing, std::function<Status(NcclLoop&)> command) {
  struct Answer {
    bool there = false;
    Status status;
  };
  const auto answer = std::make_shared<Answer>();
  const auto& options = state_->parts.options;
  const TimePoint deadline =
      RealClock().Now() + options.init_timeout + 4 * options.patience + 2 * kBlamePatience;
  MutexLock lock(state_->mutex);
  state_->commands.emplace_back(
      [state = state_, answer, command = std::move(command)](NcclLoop& loop) {
        Status status = command(loop);
        MutexLock inner(state->mutex);
        answer->there = true;
        answer->status = std::move(status);
        state->changed.notify_all();
      });
  state_->changed.notify_all();
  while (!answer->there) {
    if (RealClock().Now() >= deadline) {
      return Status(Code::kDeadline, doing + " hangs inside a call of NCCL or CUDA");
    }
    state_->changed.wait_until(state_->mutex, deadline);
  }
  return answer->status;
}

Status NcclEngine::Open(const NcclUniqueId& id) {
  Status status = Ask("making the group", [id](NcclLoop& loop) { return loop.Open(id); });
  if (!status.ok()) state_->Fail(status);
  return status;
}

void NcclEngine::Open(std::shared_ptr<Communicator> communicator) {
  CHECK(Ask("taking a communicator", [&](NcclLoop& loop) {
          loop.Open(std::move(communicator));
          return Status();
        }).ok());
}

std::shared_ptr<NcclPending> NcclEngine::Submit(const Call& call) {
  auto pending = std::make_shared<NcclPending>();
  pending->call = call;
  pending->operation = std::make_shared<Operation>(state_->parts, call);
  const Status followed = pending->operation->FollowUser();
  if (!followed.ok()) {
    state_->End(*pending, followed);
    return pending;
  }
  {
    MutexLock lock(state_->mutex);
    state_->submitted.push_back(pending);
  }
  state_->changed.notify_all();
  return pending;
}

std::unique_ptr<Work> NcclEngine::Start(const Call& call) {
  return std::make_unique<PendingWork>(state_, Submit(call));
}

Status NcclEngine::Run(const Call& call) {
  Call untold = call;
  untold.observer = nullptr;  // Whoever called Run tells it.
  PendingWork work(state_, Submit(untold));
  // The thread watches the deadline; a thread that hangs is watched here.
  const auto& options = state_->parts.options;
  Status status = work.wait(call.timeout + 2 * options.patience + 2 * kBlamePatience);
  if (!work.done()) {
    status = Status(Code::kDeadline, NameOf(call) + " hangs inside a call of NCCL or CUDA");
    Abort(status);
  }
  return status;
}

Result<std::shared_ptr<Communicator>> NcclEngine::Split(int color, int key) {
  const auto part = std::make_shared<std::shared_ptr<Communicator>>();
  RETURN_IF_ERROR(
      Ask("the split", [=](NcclLoop& loop) { return loop.Split(color, key, part.get()); }));
  return (*part)->there() ? *part : nullptr;
}

Result<void*> NcclEngine::Allocate(std::size_t bytes) {
  const auto memory = std::make_shared<void*>(nullptr);
  RETURN_IF_ERROR(
      Ask("allocating", [=](NcclLoop& loop) { return loop.Allocate(bytes, memory.get()); }));
  return *memory;
}

Result<std::shared_ptr<Communicator>> NcclEngine::Shrink(std::span<const int> lost) {
  const auto part = std::make_shared<std::shared_ptr<Communicator>>();
  const std::vector<int> gone(lost.begin(), lost.end());
  RETURN_IF_ERROR(Ask("the shrink", [=](NcclLoop& loop) { return loop.Shrink(gone, part.get()); }));
  return *part;
}

}  // namespace muster
