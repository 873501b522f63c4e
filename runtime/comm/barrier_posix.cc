#include "runtime/comm/barrier_posix.h"

#include <linux/futex.h>
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

constexpr int kSpins = 200;  // About as long as going to sleep and waking would take.
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

}  // namespace

NodeBarrier::NodeBarrier(Shared& shared, std::uint32_t ranks, std::uint32_t attempt,
                         Duration timeout)
    : shared_(shared), ranks_(ranks), attempt_tag_(attempt % 0xFFFFU + 1), timeout_(timeout) {
  CHECK(ranks > 0 && ranks < 0xFFFFU);
}

std::unique_ptr<Barrier> NodeBarrier::In(std::byte* memory, std::uint32_t ranks,
                                         std::uint32_t attempt) {
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignof(Shared) == 0);
  // Nothing is constructed: another rank may be waiting there already.
  return std::make_unique<NodeBarrier>(*reinterpret_cast<Shared*>(memory), ranks, attempt);
}

Status NodeBarrier::Wait() {
  const TimePoint deadline = RealClock().Now() + timeout_;
  std::uint64_t seen = shared_.word.load(std::memory_order_acquire);
  std::uint64_t next = 0;
  bool last = false;
  do {
    const std::uint64_t arrived = TagOf(seen) == attempt_tag_ ? ArrivedOf(seen) : 0;
    last = arrived + 1 == ranks_;
    const std::uint64_t round = (seen + (last ? 1 : 0)) & kRoundMask;
    next = (attempt_tag_ << 48U) | (last ? 0 : (arrived + 1) * kOneArrival) | round;
  } while (!shared_.word.compare_exchange_weak(seen, next, std::memory_order_acq_rel));
  if (last) {
    syscall(SYS_futex, FutexOf(shared_.word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return {};
  }
  return Sleep(next & kRoundMask, deadline);
}

Status NodeBarrier::Sleep(std::uint64_t round, TimePoint deadline) {
  for (int spin = 0;; ++spin) {
    const std::uint64_t now = shared_.word.load(std::memory_order_acquire);
    if ((now & kRoundMask) != round) return {};
    if (spin < kSpins) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      continue;
    }
    const auto left = deadline - RealClock().Now();
    if (left <= Duration::zero()) {
      return Status(Code::kDeadline, "a rank of this node did not come to the barrier: " +
                                         std::to_string(ArrivedOf(now)) + " of " +
                                         std::to_string(ranks_) + " are there");
    }
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const std::timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    syscall(SYS_futex, FutexOf(shared_.word), FUTEX_WAIT, static_cast<std::uint32_t>(round),
            &timeout, nullptr, 0);
  }
}

}  // namespace muster
