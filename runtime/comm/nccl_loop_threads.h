// What the thread of a NCCL group does (nccl_engine_threads.h), and what it shares with the others.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/comm/nccl_api.h"
#include "runtime/comm/nccl_blame_posix.h"
#include "runtime/comm/transfers_nccl.h"

namespace muster {

class NcclLoop;

struct NcclGroupName {
  std::string name;  // The keys of the group begin with it.
  int rank = 0;
  int ranks = 1;
};

std::string NameOf(const Call& call);  // "barrier (call 3)".

// A call between its start and its end; guarded by the state's mutex, but for the call.
struct NcclPending {
  Call call;
  std::shared_ptr<Operation> operation;
  bool ended = false;
  Status status;
};

struct NcclState {
  NcclState(NcclSession::Parts p, NcclGroupName g, AbortFlag* a)
      : parts(std::move(p)), group(std::move(g)), outer(a) {}

  const NcclSession::Parts parts;
  const NcclGroupName group;
  AbortFlag abort;

  Mutex mutex;
  std::condition_variable_any changed;
  std::deque<std::shared_ptr<NcclPending>> submitted GUARDED_BY(mutex);
  std::deque<std::function<void(NcclLoop&)>> commands GUARDED_BY(mutex);
  AbortFlag* outer GUARDED_BY(mutex);  // Null: the backend is gone.
  bool closing GUARDED_BY(mutex) = false;
  bool exited GUARDED_BY(mutex) = false;

  // Tells whoever waits.
  void End(NcclPending& pending, const Status& status);
  // The first failure is that of the group.
  void Fail(const Status& status);
};

// The thread's own.
class NcclLoop {
 public:
  // How long others are asked whether they came.
  static constexpr auto kBlamePatience = std::chrono::milliseconds(250);

  explicit NcclLoop(std::shared_ptr<NcclState> state);

  // Until the group is closed.
  void Run();

  // Commands; each ends in bounded time, unless a call of NCCL hangs.
  Status Open(const NcclUniqueId& id);
  void Open(std::shared_ptr<Communicator> communicator);
  Status Split(int color, int key, std::shared_ptr<Communicator>* part);
  // Null: this NCCL cannot, or the communicator is gone.
  Status Shrink(const std::vector<int>& lost, std::shared_ptr<Communicator>* part);
  // Symmetric where NCCL can; lives as long as the group.
  Status Allocate(std::size_t bytes, void** memory);

 private:
  bool TakeIn();
  bool idle() const { return (main_ == nullptr || main_->idle()) && transfers_.idle(); }
  void Begin(const std::shared_ptr<NcclPending>& pending);
  bool Turn();
  void LookAtAttempt(TimePoint now);
  void LookAtDeadline(TimePoint now);
  Status Explained(const Status& status);
  // Polls it, the abort (unless the group has failed), the attempt and the deadline.
  Status Await(Communicator& communicator, const std::string& doing);
  void Stop();
  void Close();
  void FreeMemory();

  const std::shared_ptr<NcclState> state_;
  const NcclSession::Parts& parts_;
  std::unique_ptr<OperationLane> main_;
  Transfers transfers_;
  Blame blame_;
  TimePoint next_look_{};
  bool stopped_ = false;

  struct Memory {
    void* memory = nullptr;
    NcclWindow window = nullptr;
  };
  std::deque<Memory> memory_;  // NCCL writes into them later.
};

}  // namespace muster
