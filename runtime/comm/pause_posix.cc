#include "runtime/comm/pause_posix.h"

#include <poll.h>

#include <ctime>

namespace muster {

void PauseShort() {
  const timespec pause{.tv_sec = 0, .tv_nsec = 50'000};
  ppoll(nullptr, 0, &pause, nullptr);
}

}  // namespace muster
