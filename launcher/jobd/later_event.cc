#include "launcher/jobd/later_event.h"

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"

namespace muster {

Later::Later(event_base* base) : due_(evtimer_new(base, OnDue, this), event_free) {
  CHECK(due_ != nullptr);
}

void Later::Do(Duration wait, std::function<void()> act) {
  acts_.emplace(RealClock().Now() + wait, std::move(act));
  Set();
}

void Later::Set() {
  if (acts_.empty()) return;
  const Duration left = std::max(acts_.begin()->first - RealClock().Now(), Duration::zero());
  const auto us = std::chrono::ceil<std::chrono::microseconds>(left).count();
  const timeval wait{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  evtimer_add(due_.get(), &wait);
}

void Later::OnDue(evutil_socket_t, short, void* self) {
  auto& its = *static_cast<Later*>(self);
  while (!its.acts_.empty() && its.acts_.begin()->first <= RealClock().Now()) {
    const auto act = std::move(its.acts_.extract(its.acts_.begin()).mapped());
    act();
  }
  its.Set();
}

}  // namespace muster
