// A barrier of the ranks of one node, in memory that they share and that outlives them.
//
// The memory needs no set-up: each arrival names the attempt, and the first one of a new attempt
// takes over whatever a killed rank of the former left behind.  (Ranks of two attempts never run at
// once: the launcher's promise.)  Waiting spins briefly, then sleeps on a futex: ranks may
// outnumber cores.  A peer that never comes ends the wait with kDeadline.
//
// One instance per rank; one thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "runtime/comm/barrier.h"
#include "runtime/comm/process_group.h"

namespace muster {

class NodeBarrier final : public Barrier {
 public:
  // Lies in shared memory, 64-byte aligned; zeros are a valid start.
  struct alignas(64) Shared {
    // From the top: 16 bits attempt + 1, 16 bits arrived, 32 bits round.
    std::atomic<std::uint64_t> word;
  };
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  NodeBarrier(Shared& shared, std::uint32_t ranks, std::uint32_t attempt,
              Duration timeout = kPeerTimeout);

  // In memory that is 64-byte aligned and has at least sizeof(Shared) bytes.
  static std::unique_ptr<Barrier> In(std::byte* memory, std::uint32_t ranks, std::uint32_t attempt);

  Status Wait() override;

 private:
  Status Sleep(std::uint64_t round, TimePoint deadline);

  Shared& shared_;
  const std::uint64_t ranks_;
  const std::uint64_t attempt_tag_;
  const Duration timeout_;
};

}  // namespace muster
