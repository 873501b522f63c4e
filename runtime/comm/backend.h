// What carries a process group: the one interface behind which threads, MPI and others stand.
//
// ProcessGroup checks and numbers the calls; a backend carries them out.  It is used by the rank's
// thread, one call at a time; only Abort comes from others.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/comm/abort_flag.h"
#include "runtime/comm/collective.h"

namespace muster {

class CollectiveObserver;
class Work;

// What the GPU does behind a call, in the call's own stream (a cudaStream_t): puts it there, and
// waits for nothing.  Called once, on a thread of the group.
using Then = std::function<Status(void* stream)>;

// A call that was checked.
struct Call {
  Collective collective;
  std::uint64_t seq = 0;  // Its number, the same on all ranks; sends and recvs count apart.
  Duration timeout{};     // How long this rank waits for the others.
  CollectiveObserver* observer = nullptr;
  Then then;  // Empty: nothing.
};

// One rank's way into a part of the group.
struct SplitPlan {
  std::vector<int> members;  // Ranks of the old group in the order of the new one...
  int rank = 0;              // ...and which of them is this one.  No members: it is in no part.
  std::int64_t color = 0;
  std::uint64_t seq = 0;  // Of the split, in the old group.
};

class Backend {
 public:
  Backend(int rank, int world_size) : rank_(rank), world_size_(world_size) {}
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }
  virtual const char* name() const = 0;  // "threads".
  // Whether its calls have a stream for Call::then.
  virtual bool streams() const { return false; }

  // Carries out a collective (no send, no recv) that all ranks call, and returns when it has ended
  // on this rank.  Ranks that disagree are kInvalid on all of them; a silent rank is kDeadline.
  // After an error the group is aborted by the caller: there is no way back into step.
  virtual Status Run(const Call& call) = 0;

  // The same, and sends and recvs, without waiting.  Collectives run in the order of their start,
  // sends and recvs beside them.  Tells the call's observer when a collective has ended.  Never
  // null: a call that could not be started is a Work that has ended.
  virtual std::unique_ptr<Work> Start(const Call& call) = 0;

  // Collective over the old group; null where the plan has no members.
  virtual Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) = 0;

  // The group without the `lost` ranks (ascending, not this one), made by all others, also when it
  // was aborted; it is of no more use itself.
  virtual Result<std::unique_ptr<Backend>> Shrink(std::span<const int> lost);

  // See ProcessGroup::allocate.
  virtual Result<void*> Allocate(std::size_t bytes);

  // What waits or comes later on this rank ends with `reason`.  Any thread.
  void Abort(Status reason) {
    abort_.Set(std::move(reason));
    Wake();
  }
  const AbortFlag& aborted() const { return abort_; }

 protected:
  // Makes sleepers look at abort_; they look by themselves ten times a second.
  virtual void Wake() {}

  AbortFlag abort_;

 private:
  const int rank_;
  const int world_size_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;  // That was allocated.
};

}  // namespace muster
