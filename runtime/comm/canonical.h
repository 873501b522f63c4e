// The canonical order of a sum over micro-batches (D8): the same bits for any number of ranks.
//
// One binary tree stands over the micro-batches 0..leaves-1.  Its node (level, index) covers the
// micro-batches [index << level, (index + 1) << level), cut at `leaves`; its value is the value of
// its left child plus that of its right child, or its only child's where the right one is empty.
// A rank owns a run of neighbours and holds the values of the maximal subtrees inside that run;
// whoever combines them, adds exactly the pairs that the tree names.  So who owned what leaves no
// trace in the sum.
//
// Everything here is pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace muster {

// The micro-batches [begin, end).
struct MicroBatches {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::uint32_t size() const { return end - begin; }
  bool operator==(const MicroBatches&) const = default;
};

// Runs of neighbours whose sizes differ by at most one; the longer ones come first.
MicroBatches RunOf(std::uint32_t rank, std::uint32_t ranks, std::uint32_t leaves);

struct Subtree {
  std::uint32_t level = 0;
  std::uint32_t index = 0;
  bool operator==(const Subtree&) const = default;
};

// From left to right.  At most 2 * log2(leaves).
std::vector<Subtree> MaximalSubtrees(MicroBatches run, std::uint32_t leaves);

// out[i] = left[i] + right[i] in f32.  `out` may be `left` or `right`.  Every sum of gradients in
// every backend is this one.
void AddKernel(float* out, const float* left, const float* right, std::size_t n);

// How a rank sums its own run while it computes one micro-batch after the other, in as few buffers
// ("slots") as the tree allows.
struct AccumulatePlan {
  struct Step {
    bool compute = false;           // Else: slot `slot` += slot `from`.
    std::uint32_t micro_batch = 0;  // What to compute into `slot`.
    std::uint32_t slot = 0;
    std::uint32_t from = 0;
  };
  std::vector<Step> steps;
  std::vector<Subtree> subtrees;     // What is there in the end: MaximalSubtrees(run)...
  std::vector<std::uint32_t> slots;  // ...and where.
  std::uint32_t slots_used = 0;
};

AccumulatePlan PlanAccumulation(MicroBatches run, std::uint32_t leaves);

// How `targets` are made from `sources`.  Each target must be covered by sources exactly.
class CombinePlan {
 public:
  CombinePlan() = default;
  CombinePlan(const std::vector<Subtree>& sources, const std::vector<Subtree>& targets,
              std::uint32_t leaves);

  // How each target is made, for who combines elsewhere: postfix, a source's number pushes it, -1
  // adds the two on top.
  const std::vector<std::vector<std::int32_t>>& programs() const { return programs_; }

  // Told chunk by chunk, from the left, while they are in the first cache.
  using Done = std::function<void(std::size_t at, std::size_t size)>;

  // outputs[t][0..n) = the value of target t.  An output may be the memory of a source that only
  // its own target uses.
  void Combine(std::span<const float* const> sources, std::span<float* const> outputs,
               std::size_t n, const Done& done = nullptr) const;

 private:
  static constexpr std::int32_t kAdd = -1;

  std::vector<std::vector<std::int32_t>> programs_;
  std::size_t depth_ = 0;
};

}  // namespace muster
