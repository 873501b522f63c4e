#include "runtime/base/clock.h"

namespace muster {
namespace {

class PosixClock final : public Clock {
 public:
  TimePoint Now() override { return std::chrono::steady_clock::now(); }
  WallTime Wall() override { return std::chrono::system_clock::now(); }
};

}  // namespace

Clock& RealClock() {
  static PosixClock clock;
  return clock;
}

}  // namespace muster
