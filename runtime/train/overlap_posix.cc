#include "runtime/train/overlap_posix.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>
#include <string>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

constexpr auto kLook = std::chrono::milliseconds(100);  // At the flag of Cancel.

std::uint32_t* FutexOf(std::atomic<std::uint32_t>& word) {
  return reinterpret_cast<std::uint32_t*>(&word);
}

bool Passed(std::uint32_t mark, std::uint32_t wanted) {
  return static_cast<std::int32_t>(mark - wanted) >= 0;
}

}  // namespace

CommunicationOverlap::~CommunicationOverlap() {
  if (!thread_.joinable()) return;
  cancelled_.Set(Status(Code::kAborted, "the training loop has ended"));
  {
    MutexLock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CommunicationOverlap::Open(std::span<std::byte> lines, std::uint32_t local_rank) {
  CHECK(reinterpret_cast<std::uintptr_t>(lines.data()) % kLine == 0);
  // Nothing is constructed: the others' lines are theirs.
  lines_ = reinterpret_cast<Line*>(lines.data());
  ranks_ = static_cast<std::uint32_t>(lines.size() / kLine);
  local_rank_ = local_rank;
  CHECK(local_rank_ < ranks_);
  lines_[local_rank].sleepers.store(0);
  lines_[local_rank].mark.store(0);
}

void CommunicationOverlap::Reach(std::uint32_t mark) {
  Line& line = lines_[local_rank_];
  line.mark.store(mark);
  // Who goes to sleep says so first and then looks at the mark: one of both sees the other.
  if (line.sleepers.load() == 0) return;
  syscall(SYS_futex, FutexOf(line.mark), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Status CommunicationOverlap::Await(std::uint32_t local_rank, std::uint32_t mark, Duration timeout) {
  CHECK(local_rank < ranks_);
  Line& line = lines_[local_rank];
  std::uint32_t seen = line.mark.load(std::memory_order_acquire);
  if (Passed(seen, mark)) return {};
  const TimePoint deadline = RealClock().Now() + timeout;
  line.sleepers.fetch_add(1);
  Status status;
  while (!Passed(seen = line.mark.load(), mark)) {
    status = cancelled_.reason();
    if (!status.ok()) break;
    const Duration left = std::min<Duration>(deadline - RealClock().Now(), kLook);
    if (left <= Duration::zero()) {
      status = Status(Code::kDeadline, "local rank " + std::to_string(local_rank) +
                                           " of this node did not finish its gradients in time");
      break;
    }
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const std::timespec pause{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    syscall(SYS_futex, FutexOf(line.mark), FUTEX_WAIT, seen, &pause, nullptr, 0);
  }
  line.sleepers.fetch_sub(1);
  return status;
}

void CommunicationOverlap::Begin(std::function<Status()> work) {
  {
    MutexLock lock(mutex_);
    CHECK(!working_);
    work_ = std::move(work);
    working_ = true;
  }
  if (!thread_.joinable()) thread_ = std::jthread([this] { Loop(); });
  changed_.notify_all();
}

Status CommunicationOverlap::End() {
  MutexLock lock(mutex_);
  while (working_) changed_.wait(mutex_);
  return std::exchange(status_, {});
}

void CommunicationOverlap::Cancel(Status reason) {
  cancelled_.Set(std::move(reason));
}

void CommunicationOverlap::Loop() {
  WakeSoon();
  for (;;) {
    std::function<Status()> work;
    {
      MutexLock lock(mutex_);
      while (!working_ && !closing_) changed_.wait(mutex_);
      if (!working_) return;
      work = std::exchange(work_, nullptr);
    }
    Status status = work();
    {
      MutexLock lock(mutex_);
      status_ = std::move(status);
      working_ = false;
    }
    changed_.notify_all();
  }
}

}  // namespace muster
