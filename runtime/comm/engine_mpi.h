// What is under way over MPI in this process, and who looks after it.
//
// Every call is a Task: non-blocking sends and recvs and what is computed between them.  Whoever
// waits polls all tasks; while nobody does, the engine's thread does.  MPI is entered by one thread
// at a time (MPI_THREAD_SERIALIZED): MpiLock.
#pragma once

#include <mpi.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/comm/mpi_lock_threads.h"
#include "runtime/comm/process_group.h"
#include "runtime/comm/progress_threads.h"
#include "runtime/comm/rounds_mpi.h"

namespace muster {

// One call under way.  All of it with the MpiLock held.
class MpiTask {
 public:
  explicit MpiTask(AbortFlag& abort) : abort_(abort) {}
  virtual ~MpiTask() = default;
  MpiTask(const MpiTask&) = delete;
  MpiTask& operator=(const MpiTask&) = delete;

  // Moves on what can be moved on.  True: something did.
  bool Poll();
  bool ended() const { return ended_; }
  const Status& status() const { return status_; }
  void End(Status status);
  // "ranks 1, 3": whom it waits for.
  virtual std::string Missing() const = 0;

 protected:
  virtual bool Advance() = 0;
  virtual void Cancel() = 0;
  virtual void Tell(const Status&) {}  // An observer.

  AbortFlag& abort_;

 private:
  bool ended_ = false;
  Status status_;
};

class MpiEngine {
 public:
  // `threads`: MPI allows for calls of another thread.
  explicit MpiEngine(bool threads);

  // From now on the task is polled, until it has ended.
  void Begin(const std::shared_ptr<MpiTask>& task);
  // kDeadline: the task has not ended.  Ok or not, its status otherwise.
  Status Await(MpiTask& task, Duration timeout);
  bool Done(MpiTask& task);
  // Ends tasks whose group was aborted.
  void Sweep();
  // Started work that nobody waits for.
  void Leave();

  // Users' recvs of one sender and tag take messages in the order of their start.  With the
  // MpiLock.
  using RecvKey = std::tuple<MPI_Comm, int, int>;
  std::deque<const MpiTask*>& Recvs(const RecvKey& key) { return recvs_[key]; }

  class PendingWork;

 private:
  // With the MpiLock.
  ProgressThread::Seen PollSome();
  void Forget();  // What has ended.

  const bool threads_;
  std::vector<std::shared_ptr<MpiTask>> tasks_;          // With the MpiLock.
  std::size_t next_ = 0;                                 // Whose turn was last.
  std::map<RecvKey, std::deque<const MpiTask*>> recvs_;  // With the MpiLock.
  ProgressThread progress_;
};

class MpiEngine::PendingWork final : public Work {
 public:
  PendingWork(MpiEngine& engine, std::shared_ptr<MpiTask> task, std::uint64_t seq)
      : Work(seq), engine_(engine), task_(std::move(task)) {}
  bool done() override { return engine_.Done(*task_); }
  Status wait(Duration timeout) override { return engine_.Await(*task_, timeout); }

 private:
  MpiEngine& engine_;
  const std::shared_ptr<MpiTask> task_;
};

// A collective of all ranks of a communicator.
struct MpiCollective {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int ranks = 1;
  Call call;
  bool check = true;  // That all ranks make the same call, beside it.
  std::size_t part_bytes = CallPlan::kPartBytes;
};
// An error sets `abort`.
std::shared_ptr<MpiTask> MakeTask(const MpiCollective& collective, AbortFlag& abort);

// A send or recv of users; the tag is theirs.
std::unique_ptr<Work> StartTransfer(MpiEngine& engine, MPI_Comm comm, const Call& call,
                                    AbortFlag& abort);

// The communicator of a part; MPI_COMM_NULL where this rank is in none.  Collective.
Result<MPI_Comm> SplitComm(MPI_Comm comm, const SplitPlan& plan);

}  // namespace muster
