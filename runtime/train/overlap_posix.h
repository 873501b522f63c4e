// The communication thread of a rank, and the marks of a node's ranks as futexes in memory that
// they share.
//
// The thread begins with the first Begin and sleeps between steps.  Waiting does not spin: it is
// done beside a backward pass that needs the core.
#pragma once

#include <atomic>
#include <condition_variable>
#include <thread>

#include "runtime/base/mutex.h"
#include "runtime/comm/abort_flag.h"
#include "runtime/train/overlap.h"

namespace muster {

class CommunicationOverlap final : public Overlap {
 public:
  CommunicationOverlap() = default;
  ~CommunicationOverlap() override;
  CommunicationOverlap(const CommunicationOverlap&) = delete;
  CommunicationOverlap& operator=(const CommunicationOverlap&) = delete;

  void Open(std::span<std::byte> lines, std::uint32_t local_rank) override;
  void Reach(std::uint32_t mark) override;
  Status Await(std::uint32_t local_rank, std::uint32_t mark, Duration timeout) override;
  void Begin(std::function<Status()> work) override;
  Status End() override;
  void Cancel(Status reason) override;

 private:
  // Lies in shared memory; zeros are a valid start.
  struct alignas(kLine) Line {
    std::atomic<std::uint32_t> mark;
    std::atomic<std::uint32_t> sleepers;
  };
  static_assert(sizeof(Line) == kLine && std::atomic<std::uint32_t>::is_always_lock_free);

  void Loop();

  Line* lines_ = nullptr;
  std::uint32_t local_rank_ = 0;
  std::uint32_t ranks_ = 0;
  AbortFlag cancelled_;

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::function<Status()> work_ GUARDED_BY(mutex_);
  bool working_ GUARDED_BY(mutex_) = false;
  bool closing_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace muster
