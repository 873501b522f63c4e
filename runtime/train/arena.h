// What the ranks of a node share: the parameters and optimizer state of the run, and the gradients
// of a step (D9).
//
// Two memories, each a plain block that a Memory (memory.h) hands out:
//   state:     StateHeader, parameters, exp_avg, exp_avg_sq.  Outlives ranks: a new attempt goes
//              on from it when the header says that it is whole.
//   gradients: the barrier, the norm's partial sums, then the gradient slots of local rank 0, 1...
// Views and arithmetic only; the ranks' barrier orders who writes when.
#pragma once

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

  void Set(StateWord::Kind kind, std::uint64_t step) {
    word.store(StateWord{.kind = kind, .step = step}.Encode(), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // What changes next comes after it.
  }
};

class StateView {
 public:
  static std::size_t Bytes(const Layout& layout);
  StateView() = default;
  StateView(std::span<std::byte> memory, const Layout& layout);

  StateHeader& header() const { return *header_; }
  float* parameters() const { return arrays_[0]; }
  float* exp_avg() const { return arrays_[1]; }
  float* exp_avg_sq() const { return arrays_[2]; }
  float* array(std::size_t which) const { return arrays_[which]; }
  // Everything behind the header, to be copied as it is.
  std::span<std::byte> body() const { return body_; }

 private:
  StateHeader* header_ = nullptr;
  float* arrays_[3] = {};
  std::span<std::byte> body_;
};

class GradientView {
 public:
  static std::size_t Bytes(const Layout& layout, const Topology& topology);
  GradientView() = default;
  GradientView(std::span<std::byte> memory, const Layout& layout, const Topology& topology);

  // For the node's barrier: 64 bytes.
  std::byte* barrier() const { return barrier_; }
  // One for each bucket, written by its lane.
  std::span<double> partials() const { return partials_; }
  float* slot(std::uint32_t local_rank, std::uint32_t slot) const;

 private:
  std::byte* barrier_ = nullptr;
  std::span<double> partials_;
  std::vector<float*> first_slot_;  // By local rank.
  std::size_t slot_elements_ = 0;
};

}  // namespace muster
