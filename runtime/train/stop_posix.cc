#include "runtime/train/stop_posix.h"

#include <atomic>
#include <csignal>

#include "runtime/base/check.h"

namespace muster {
namespace {

std::atomic<bool> seen{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void CatchStopSignal() {
  struct sigaction action {};
  action.sa_handler = [](int) { seen = true; };
  action.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGTERM, &action, nullptr) == 0);
}

bool StopSignalSeen() {
  return seen;
}

}  // namespace muster
