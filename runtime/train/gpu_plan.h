// How the gradients of a step are summed over GPUs, as numbers: in which parts, whose parts meet
// where, and in which order they are added.  Each rank has GPU memory of its own, so each counts as
// a node of the canonical tree (topology.h).
//
// A part ("group" of buckets) is cut into as many slices as there are ranks.  Every rank sends
// slice r of each of its subtrees to rank r (all_to_all, one round a subtree), which adds up what
// it got as the tree says, and the slices go round (all_gather): the bytes of a ring, the bits of
// any number of ranks.
//
// Pure values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/train/layout.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/precision.h"
#include "runtime/train/topology.h"
#include "runtime/train/train_options.h"

namespace muster {

class GpuSumPlan {
 public:
  // Floats of a group, about: large enough for the network, small enough to leave early.
  static constexpr std::size_t kGroupElements = std::size_t{8} << 20U;

  // `sources_most`, `program_most`: what the combining kernel takes.  kInvalid: more partial sums
  // than that, and what to do.
  static Result<GpuSumPlan> Make(const Layout& layout, const Topology& topology,
                                 std::size_t sources_most, std::size_t program_most,
                                 std::size_t group_elements = kGroupElements);

  std::size_t ranks() const { return ranks_; }
  // Floats of a slot: the gradient, its tail, and zeros, so that the last group has even slices.
  std::size_t capacity() const { return groups_.back().end; }
  // In the order of the layout.
  const std::vector<Range>& groups() const { return groups_; }
  // How many groups lie wholly within the first `elements`.
  std::size_t GroupsWithin(std::size_t elements) const;
  Range Slice(std::size_t group, std::size_t rank) const;

  // Subtrees of the rank that has most.
  std::size_t rounds() const { return rounds_; }
  // What is added, from left to right, and how (CombinePlan::programs).
  struct Source {
    std::size_t rank = 0;
    std::size_t round = 0;
    bool operator==(const Source&) const = default;
  };
  const std::vector<Source>& sources() const { return sources_; }
  const std::vector<std::int32_t>& program() const { return program_; }

 private:
  std::size_t ranks_ = 1;
  std::vector<Range> groups_;
  std::size_t rounds_ = 1;
  std::vector<Source> sources_;
  std::vector<std::int32_t> program_;
};

// What the loop remembers from step to step beside tensors.
struct GpuProgress {
  std::uint64_t step = 0;
  double loss_ema = 0;  // 0 before the first step.
  ScaleState scale;
  std::uint64_t skipped = 0;
  bool operator==(const GpuProgress&) const = default;
};

// What the reduction of a step gave: its sums per bucket and its tail.
struct GpuSums {
  std::span<const double> squares;
  std::span<const float> tail;  // Layout::kTail.
  std::string broken;           // What is not finite, named; empty: all is.
};

// What becomes of a step.
struct GpuVerdict {
  double loss = 0;
  bool stop = false;    // Some rank was asked to.
  bool update = false;  // Else the step changes nothing, and `broken` says what is not finite.
  std::string broken;
  double gradient_scale = 0;
  GpuProgress next;
};
// kDataLoss: the loss or a gradient is not finite, and the options say to stop.
Result<GpuVerdict> Judge(const TrainOptions& options, std::uint32_t micro_batches,
                         const GpuProgress& now, const GpuSums& sums);

}  // namespace muster
