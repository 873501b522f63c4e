// What is to be done in a while.  The loop's thread only.
#pragma once

#include <event2/event.h>

#include <functional>
#include <map>
#include <memory>

#include "runtime/base/clock.h"

namespace muster {

class Later {
 public:
  explicit Later(event_base* base);
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;
  ~Later() = default;

  void Do(Duration wait, std::function<void()> act);

 private:
  static void OnDue(evutil_socket_t, short, void* self);
  void Set();

  const std::unique_ptr<event, decltype(&event_free)> due_;
  std::multimap<TimePoint, std::function<void()>> acts_;
};

}  // namespace muster
