// What it takes to sum gradients while they are still being computed: a thread of the rank beside
// its own, and a place where the ranks of a node tell how far each is.  overlap_posix.h has the
// real one.
//
// A mark is a count of buckets that are final, modulo 2^32, that only rises within an attempt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

class Overlap {
 public:
  // Of the shared memory that each rank of the node needs.
  static constexpr std::size_t kLine = 64;

  virtual ~Overlap() = default;

  // `lines`: kLine bytes for each rank of the node, shared by them, 64-byte aligned.  Sets this
  // rank's mark to 0, whatever an earlier attempt left; nobody waits before all have.
  virtual void Open(std::span<std::byte> lines, std::uint32_t local_rank) = 0;

  // This rank has come so far.  Its own thread.
  virtual void Reach(std::uint32_t mark) = 0;
  // Until that rank of the node has.  kDeadline: not in time.  Either thread.
  virtual Status Await(std::uint32_t local_rank, std::uint32_t mark, Duration timeout) = 0;

  // Carries `work` out on the other thread, from now until End, which tells how it went.
  virtual void Begin(std::function<Status()> work) = 0;
  virtual Status End() = 0;
  // Ends waits, also later ones, with `reason`.
  virtual void Cancel(Status reason) = 0;
};

}  // namespace muster
