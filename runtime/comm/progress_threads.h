// Looks after what was started and nobody waits for: a thread that polls now and then, as long as
// there is something.
//
// It begins with the first Notify, and rests while somebody else polls (Elsewhere) or nothing is
// under way.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <thread>

#include "runtime/base/mutex.h"

namespace muster {

class ProgressThread {
 public:
  enum class Seen { kNothingLeft, kNothingNew, kProgress };
  using Poll = std::function<Seen()>;

  explicit ProgressThread(Poll poll) : poll_(std::move(poll)) {}
  ~ProgressThread();
  ProgressThread(const ProgressThread&) = delete;
  ProgressThread& operator=(const ProgressThread&) = delete;

  // Something is under way.
  void Notify();

  // Somebody polled just now, and may do so again: for a while the thread need not.
  void Looked() { looked_.store(true, std::memory_order_relaxed); }

  // As long as one lives, its owner polls.
  class Elsewhere {
   public:
    explicit Elsewhere(ProgressThread& thread) : thread_(thread) { ++thread_.elsewhere_; }
    ~Elsewhere() { --thread_.elsewhere_; }
    Elsewhere(const Elsewhere&) = delete;
    Elsewhere& operator=(const Elsewhere&) = delete;

   private:
    ProgressThread& thread_;
  };

 private:
  void Loop();

  const Poll poll_;
  std::atomic<int> elsewhere_{0};
  std::atomic<bool> looked_{false};
  Mutex mutex_;
  std::condition_variable_any changed_;
  bool under_way_ GUARDED_BY(mutex_) = false;
  bool closing_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace muster
