// The coordinator's one loop: a thread, a bounded queue, and the front that only this thread
// touches.
//
// Any thread may post; what is posted runs on the loop's thread in order and must not block.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>

#include "launcher/coordinator/front.h"
#include "runtime/base/mutex.h"

namespace muster {

class Loop {
 public:
  using Work = std::function<void(Front&, const Moment&)>;

  // `failed` is called once, on the loop's thread, when the journal failed.
  Loop(const CoordinatorConfig& config, Journal& journal, Clock& clock,
       std::function<void(const Status&)> failed);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Loads the journal, begins a new life of the coordinator and waits until that is durable.
  Status Start();

  // False when the queue is full: the caller answers RESOURCE_EXHAUSTED.  For requests.
  bool Post(Work work);
  // For what is bounded by the number of streams, since each has at most one posting under way.
  void PostAlways(Work work);

  // Runs `work` and waits for it.  Not from the loop's thread.
  void Run(const Work& work);

  // Takes a snapshot, ends every stream with `why`, and the thread; what is posted later runs on
  // the caller's thread, against a closed front.  May be called twice.
  Status Stop(const Status& why);

 private:
  void Main();
  Moment Now() { return {.now = clock_.Now(), .wall = clock_.Wall()}; }

  const CoordinatorConfig& config_;
  Journal& journal_;
  Clock& clock_;
  const std::function<void(const Status&)> failed_;
  Front front_;  // The loop's thread only; before Start() and after Stop() the caller's.

  Mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Work> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
  Mutex afterwards_;  // Held while work runs after the thread ended.
  std::jthread thread_;
};

}  // namespace muster
