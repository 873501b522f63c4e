// A process group: ranks that talk collectively.  The verbs are those of c10d.
//
// Every rank of the group makes the same collective calls in the same order; a send is received by
// one recv with the same peers, tag and size.  There is no float reduction here on purpose: sums
// of gradients run in canonical order (canonical.h) on top of send and recv.
//
// One instance belongs to one rank and is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

// How long a peer may be silent before a wait gives up with kDeadline.  A dead peer is the
// launcher's to notice, much earlier; this ends the waits that nobody else would end.
inline constexpr Duration kPeerTimeout = std::chrono::minutes(10);

enum class ReduceOp { kSum, kMin, kMax };

// A pending transfer.  Destroyed only after wait() returned ok; its bytes are left alone until
// then.
class Work {
 public:
  virtual ~Work() = default;
  virtual Status wait(Duration timeout = kPeerTimeout) = 0;
};

class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  virtual Status barrier() = 0;
  virtual Status broadcast(std::span<std::byte> bytes, int root) = 0;
  // all.size() == world_size() * mine.size(); rank r's bytes come r-th.
  virtual Status all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  virtual Status all_reduce(std::span<std::int64_t> values, ReduceOp op) = 0;
  virtual std::unique_ptr<Work> send(std::span<const std::byte> bytes, int to, int tag) = 0;
  virtual std::unique_ptr<Work> recv(std::span<std::byte> bytes, int from, int tag) = 0;
};

}  // namespace muster
