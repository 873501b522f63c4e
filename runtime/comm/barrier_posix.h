// A barrier of the ranks of one node, in memory that they share and that outlives them.
//
// The memory needs no set-up: each arrival names the attempt, and the first one of a new attempt
// takes over whatever a killed rank of the former left behind.  (Ranks of two attempts never run at
// once: the launcher's promise.)  Waiting spins, longer where every rank has a core, then sleeps on
// a futex: ranks may outnumber cores.  A peer that never comes ends the wait with kDeadline.
//
// One instance per rank; one thread, but for Wake.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "runtime/comm/abort_flag.h"
#include "runtime/comm/barrier.h"
#include "runtime/comm/process_group.h"

namespace muster {

class NodeBarrier final : public Barrier {
 public:
  // Lies in shared memory, 64-byte aligned; zeros are a valid start.
  struct alignas(64) Shared {
    // From the top: 16 bits attempt + 1, 16 bits arrived, 32 bits round.
    std::atomic<std::uint64_t> word;
    // The last round in which somebody went to sleep: nobody else is woken.
    std::atomic<std::uint32_t> slept;
  };
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  // `abort`: ends a wait, and every later one, with its reason.
  NodeBarrier(Shared& shared, std::uint32_t ranks, std::uint32_t attempt,
              Duration timeout = kPeerTimeout, const AbortFlag* abort = nullptr);

  // In memory that is 64-byte aligned and has at least sizeof(Shared) bytes.
  static std::unique_ptr<Barrier> In(std::byte* memory, std::uint32_t ranks, std::uint32_t attempt);

  Status Wait() override { return Wait(timeout_); }
  Status Wait(Duration timeout);

  // Makes sleepers look at their abort flags; they look by themselves ten times a second.
  void Wake();

 private:
  Status Sleep(std::uint32_t round, Duration timeout);

  Shared& shared_;
  const std::uint64_t ranks_;
  const std::uint64_t attempt_tag_;
  const Duration timeout_;
  const AbortFlag* const abort_;
  const int spins_;
  const int yields_;
};

}  // namespace muster
