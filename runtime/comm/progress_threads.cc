#include "runtime/comm/progress_threads.h"

#include <chrono>

#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

// While bytes move; while they do not (ranks may outnumber cores); and while somebody else looks.
constexpr auto kSoon = std::chrono::microseconds(50);
constexpr auto kLater = std::chrono::microseconds(300);
constexpr auto kMuchLater = std::chrono::milliseconds(2);

}  // namespace

ProgressThread::~ProgressThread() {
  {
    MutexLock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
}

void ProgressThread::Notify() {
  {
    MutexLock lock(mutex_);
    if (under_way_) return;
    under_way_ = true;
  }
  changed_.notify_all();
  if (!thread_.joinable()) thread_ = std::jthread([this] { Loop(); });
}

void ProgressThread::Loop() {
  WakeSoon();
  std::chrono::microseconds pause = kSoon;
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (!under_way_ && !closing_) changed_.wait(mutex_);
      if (!closing_) changed_.wait_for(mutex_, pause);
      if (closing_) return;
      // Before the look, so that what begins during it is not forgotten.
      under_way_ = false;
    }
    const bool looked = looked_.exchange(false, std::memory_order_relaxed);
    const Seen seen = looked || elsewhere_ > 0 ? Seen::kNothingNew : poll_();
    pause = looked ? kMuchLater : seen == Seen::kProgress ? kSoon : kLater;
    if (seen == Seen::kNothingLeft) continue;
    MutexLock lock(mutex_);
    under_way_ = true;
  }
}

}  // namespace muster
