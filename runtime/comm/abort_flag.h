// A reason to give up, told once, from any thread, to whoever waits.
#pragma once

#include <atomic>

#include "runtime/base/result.h"

namespace muster {

class AbortFlag {
 public:
  // The first reason stays.
  void Set(Status reason) {
    if (claimed_.exchange(true)) return;
    reason_ = std::move(reason);
    set_.store(true, std::memory_order_release);
  }
  bool set() const { return set_.load(std::memory_order_acquire); }
  // Ok as long as nobody gave one.
  Status reason() const { return set() ? reason_ : Status(); }

 private:
  std::atomic<bool> claimed_{false};
  std::atomic<bool> set_{false};
  Status reason_;
};

}  // namespace muster
