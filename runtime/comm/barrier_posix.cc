#include "runtime/comm/barrier_posix.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <ctime>
#include <string>

#include "runtime/base/check.h"

namespace muster {
namespace {

// With a core for each rank, as long as a short step of the others.  Else next to nothing: whoever
// is waited for may need just this core.  So it is handed on, as often as is still cheaper than
// going to sleep and being woken.
constexpr int kSpins = 20;
constexpr int kYields = 100;
constexpr int kSpinsWithCores = 4000;
constexpr auto kLook = std::chrono::milliseconds(100);  // At the abort flag.
constexpr std::uint64_t kRoundMask = 0xFFFFFFFFU;
constexpr std::uint64_t kOneArrival = std::uint64_t{1} << 32U;

std::uint64_t TagOf(std::uint64_t word) {
  return word >> 48U;
}
std::uint64_t ArrivedOf(std::uint64_t word) {
  return (word >> 32U) & 0xFFFFU;
}

// The futex is the low half of the word, the round.
static_assert(std::endian::native == std::endian::little);
std::uint32_t* FutexOf(std::atomic<std::uint64_t>& word) {
  return reinterpret_cast<std::uint32_t*>(&word);
}

int Cores() {
  static const int kCores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  return kCores;
}

}  // namespace

NodeBarrier::NodeBarrier(Shared& shared, std::uint32_t ranks, std::uint32_t attempt,
                         Duration timeout, const AbortFlag* abort)
    : shared_(shared),
      ranks_(ranks),
      attempt_tag_(attempt % 0xFFFFU + 1),
      timeout_(timeout),
      abort_(abort),
      spins_(ranks <= static_cast<std::uint32_t>(Cores()) ? kSpinsWithCores : kSpins),
      yields_(ranks <= static_cast<std::uint32_t>(Cores()) ? 0 : kYields) {
  CHECK(ranks > 0 && ranks < 0xFFFFU);
}

std::unique_ptr<Barrier> NodeBarrier::In(std::byte* memory, std::uint32_t ranks,
                                         std::uint32_t attempt) {
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignof(Shared) == 0);
  // Nothing is constructed: another rank may be waiting there already.
  return std::make_unique<NodeBarrier>(*reinterpret_cast<Shared*>(memory), ranks, attempt);
}

Status NodeBarrier::Wait(Duration timeout) {
  if (abort_ != nullptr) RETURN_IF_ERROR(abort_->reason());
  std::uint64_t seen = shared_.word.load(std::memory_order_acquire);
  std::uint64_t next = 0;
  bool last = false;
  do {
    const std::uint64_t arrived = TagOf(seen) == attempt_tag_ ? ArrivedOf(seen) : 0;
    last = arrived + 1 == ranks_;
    const std::uint64_t round = (seen + (last ? 1 : 0)) & kRoundMask;
    next = (attempt_tag_ << 48U) | (last ? 0 : (arrived + 1) * kOneArrival) | round;
  } while (!shared_.word.compare_exchange_weak(seen, next));
  if (!last) return Sleep(static_cast<std::uint32_t>(next & kRoundMask), timeout);
  // Who goes to sleep says so first and then looks at the round: one of both sees the other.
  if (shared_.slept.load() == static_cast<std::uint32_t>(seen & kRoundMask)) Wake();
  return {};
}

void NodeBarrier::Wake() {
  syscall(SYS_futex, FutexOf(shared_.word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Status NodeBarrier::Sleep(std::uint32_t round, Duration timeout) {
  const auto passed = [&] {
    return (shared_.word.load(std::memory_order_acquire) & kRoundMask) != round;
  };
  for (int spin = 0; spin < spins_; ++spin) {
    if (passed()) return {};
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  for (int turn = 0; turn < yields_; ++turn) {
    sched_yield();
    if (passed()) return {};
  }
  const TimePoint deadline = RealClock().Now() + timeout;
  // It only rises: a rank that comes here late, when its round is over and another sleeps in the
  // next one, must not take that one's word back.
  std::uint32_t slept = shared_.slept.load();
  while (static_cast<std::int32_t>(round - slept) > 0 &&
         !shared_.slept.compare_exchange_weak(slept, round)) {
  }
  while (!passed()) {
    if (abort_ != nullptr) RETURN_IF_ERROR(abort_->reason());
    Duration left = deadline - RealClock().Now();
    if (left <= Duration::zero()) {
      return Status(Code::kDeadline, "a rank of this node did not come to the barrier: " +
                                         std::to_string(ArrivedOf(shared_.word.load())) + " of " +
                                         std::to_string(ranks_) + " are there");
    }
    if (abort_ != nullptr) left = std::min<Duration>(left, kLook);
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const std::timespec pause{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    syscall(SYS_futex, FutexOf(shared_.word), FUTEX_WAIT, round, &pause, nullptr, 0);
  }
  return {};
}

}  // namespace muster
