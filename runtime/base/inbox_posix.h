// What other threads leave for a loop that waits on descriptors: a queue and an eventfd.
//
// Push() on any thread; Take() and fd() on the loop's.  It is not bounded: what pushes is.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <deque>
#include <utility>

#include "runtime/base/file_posix.h"
#include "runtime/base/mutex.h"

namespace muster {

template <typename Item>
class Inbox {
 public:
  Inbox() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(wake_.valid()); }

  void Push(Item item) {
    {
      const MutexLock lock(mutex_);
      items_.push_back(std::move(item));
    }
    const std::uint64_t one = 1;
    CHECK(WriteAll(wake_.get(), &one, sizeof one).ok());
  }

  std::deque<Item> Take() {
    std::uint64_t count = 0;
    if (read(wake_.get(), &count, sizeof count) < 0) return {};  // Nothing was pushed.
    const MutexLock lock(mutex_);
    return std::exchange(items_, {});
  }

  // Readable while there is something to take.
  int fd() const { return wake_.get(); }

 private:
  UniqueFd wake_;
  Mutex mutex_;
  std::deque<Item> items_ GUARDED_BY(mutex_);
};

}  // namespace muster
