// What the ranks of a node share: the parameters and optimizer state of the run, and the gradients
// of a step (D9).
//
// Two memories, each a plain block that a Memory (memory.h) hands out:
//   state:     StateHeader, parameters, exp_avg, exp_avg_sq (of the node's shard).  Outlives ranks:
//              a new attempt goes on from it when the header says that it is whole.
//   gradients: the barrier, a line and a greeting for each rank, the buckets' sums of squares, the
//              working copy of the parameters where there is one, then the gradient slots of local
//              rank 0, 1...
// Views and arithmetic only; the ranks' barrier orders who writes when.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/train/layout.h"
#include "runtime/train/topology.h"

namespace muster {

// Is the state of a node worth going on from?  One word, so that a kill at any moment leaves it
// true: "updating" is written before the first byte changes, "stable" after the last one.
struct StateWord {
  enum class Kind : std::uint8_t { kNone, kStable, kUpdating };
  Kind kind = Kind::kNone;
  std::uint64_t step = 0;  // Steps completed.

  std::uint64_t Encode() const { return step << 2U | static_cast<std::uint64_t>(kind); }
  static StateWord Decode(std::uint64_t word) {
    return {.kind = static_cast<Kind>(word & 3U), .step = word >> 2U};
  }
  bool operator==(const StateWord&) const = default;
};

struct StateHeader {
  static constexpr std::uint64_t kMagic = 0x31657461'7473756D;

  std::uint64_t magic = 0;
  std::uint64_t fingerprint = 0;  // Of everything that must be equal to go on (host_state.h).
  std::atomic<std::uint64_t> word{0};
  double loss_ema = 0;  // 0 before the first step.
  // Of loss scaling and skipped steps (loss_scale.h); 0 as a scale: not begun yet.
  double loss_scale = 0;
  std::uint64_t good_steps = 0;
  std::uint64_t skipped = 0;

  void Set(StateWord::Kind kind, std::uint64_t step) {
    // An exchange, so that what changes next comes after it, too.
    word.exchange(StateWord{.kind = kind, .step = step}.Encode(), std::memory_order_acq_rel);
  }
};

class StateView {
 public:
  static constexpr std::size_t kArrays = 3;  // Parameters, exp_avg, exp_avg_sq.

  // `shard`: what this node keeps of the optimizer's state (shards.h).
  static std::size_t Bytes(const Layout& layout, Range shard);
  StateView() = default;
  StateView(std::span<std::byte> memory, const Layout& layout, Range shard);

  StateHeader& header() const { return *header_; }
  float* parameters() const { return arrays_[0].values; }
  const ArrayPart& exp_avg() const { return arrays_[1]; }
  const ArrayPart& exp_avg_sq() const { return arrays_[2]; }
  std::span<const ArrayPart, kArrays> arrays() const { return arrays_; }
  // Everything behind the header, to be copied as it is.
  std::span<std::byte> body() const { return body_; }

 private:
  StateHeader* header_ = nullptr;
  std::array<ArrayPart, kArrays> arrays_ = {};
  std::span<std::byte> body_;
};

// What is known of a bucket of the summed gradient.
struct BucketSum {
  double squares = 0;
  std::int64_t broken_tensor = -1;  // The first one with a NaN or Inf in it; -1: there is none.
};

class GradientView {
 public:
  // `working_copy`: of the parameters, for models that compute with other bits than the state has.
  static std::size_t Bytes(const Layout& layout, const Topology& topology,
                           bool working_copy = false);
  GradientView() = default;
  GradientView(std::span<std::byte> memory, const Layout& layout, const Topology& topology,
               bool working_copy = false);

  // For the node's barrier: 64 bytes.
  std::byte* barrier() const { return barrier_; }
  // 64 bytes for each local rank (overlap.h).
  std::span<std::byte> lines() const { return lines_; }
  // A word that each local rank leaves for the others: whoever does not find it shares no memory.
  std::span<std::uint64_t> greetings() const { return greetings_; }
  // One for each bucket, written by its lane.
  std::span<BucketSum> sums() const { return sums_; }
  float* working_copy() const { return working_copy_; }  // Null: there is none.
  float* slot(std::uint32_t local_rank, std::uint32_t slot) const;

 private:
  std::byte* barrier_ = nullptr;
  std::span<std::byte> lines_;
  std::span<std::uint64_t> greetings_;
  std::span<BucketSum> sums_;
  float* working_copy_ = nullptr;
  std::vector<float*> first_slot_;  // By local rank.
  std::size_t slot_elements_ = 0;
};

}  // namespace muster
