#include "runtime/comm/canonical.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kChunk = 1024;  // Floats: a stack of chunks stays in the first cache.

Subtree Root(std::uint32_t leaves) {
  CHECK(leaves > 0 && leaves <= 1U << 20U);
  return {.level = static_cast<std::uint32_t>(std::bit_width(leaves - 1)), .index = 0};
}

MicroBatches Cover(Subtree tree, std::uint32_t leaves) {
  return {.begin = std::min(tree.index << tree.level, leaves),
          .end = std::min((tree.index + 1) << tree.level, leaves)};
}

Subtree Left(Subtree tree) {
  return {.level = tree.level - 1, .index = 2 * tree.index};
}

Subtree Right(Subtree tree) {
  return {.level = tree.level - 1, .index = 2 * tree.index + 1};
}

bool Empty(MicroBatches run) {
  return run.begin >= run.end;
}

void Collect(Subtree tree, MicroBatches run, std::uint32_t leaves, std::vector<Subtree>& into) {
  const MicroBatches cover = Cover(tree, leaves);
  if (Empty(cover) || cover.end <= run.begin || run.end <= cover.begin) return;
  if (run.begin <= cover.begin && cover.end <= run.end) {
    into.push_back(tree);
    return;
  }
  Collect(Left(tree), run, leaves, into);
  Collect(Right(tree), run, leaves, into);
}

// The slots of one rank: the lowest free one is taken next.
class Slots {
 public:
  std::uint32_t Take() {
    const auto free = std::find(taken_.begin(), taken_.end(), false);
    const auto slot = static_cast<std::uint32_t>(free - taken_.begin());
    if (free == taken_.end()) taken_.push_back(false);
    taken_[slot] = true;
    return slot;
  }
  void Free(std::uint32_t slot) { taken_[slot] = false; }
  std::uint32_t used() const { return static_cast<std::uint32_t>(taken_.size()); }

 private:
  std::vector<bool> taken_;
};

std::uint32_t Accumulate(Subtree tree, std::uint32_t leaves, Slots& slots, AccumulatePlan& plan) {
  const MicroBatches cover = Cover(tree, leaves);
  if (cover.size() == 1) {
    const std::uint32_t slot = slots.Take();
    plan.steps.push_back({.compute = true, .micro_batch = cover.begin, .slot = slot});
    return slot;
  }
  const std::uint32_t left = Accumulate(Left(tree), leaves, slots, plan);
  if (Empty(Cover(Right(tree), leaves))) return left;
  const std::uint32_t right = Accumulate(Right(tree), leaves, slots, plan);
  plan.steps.push_back({.slot = left, .from = right});
  slots.Free(right);
  return left;
}

}  // namespace

MicroBatches RunOf(std::uint32_t rank, std::uint32_t ranks, std::uint32_t leaves) {
  CHECK(rank < ranks);
  const std::uint32_t each = leaves / ranks;
  const std::uint32_t longer = leaves % ranks;
  const std::uint32_t begin = rank * each + std::min(rank, longer);
  return {.begin = begin, .end = begin + each + (rank < longer ? 1 : 0)};
}

std::vector<Subtree> MaximalSubtrees(MicroBatches run, std::uint32_t leaves) {
  std::vector<Subtree> subtrees;
  Collect(Root(leaves), run, leaves, subtrees);
  return subtrees;
}

AccumulatePlan PlanAccumulation(MicroBatches run, std::uint32_t leaves) {
  AccumulatePlan plan;
  Slots slots;
  for (const Subtree& tree : MaximalSubtrees(run, leaves)) {
    plan.subtrees.push_back(tree);
    plan.slots.push_back(Accumulate(tree, leaves, slots, plan));
  }
  plan.slots_used = slots.used();
  return plan;
}

CombinePlan::CombinePlan(const std::vector<Subtree>& sources, const std::vector<Subtree>& targets,
                         std::uint32_t leaves) {
  std::vector<std::int32_t> program;
  std::size_t height = 0;
  const std::function<void(Subtree)> evaluate = [&](Subtree tree) {
    const auto source = std::find(sources.begin(), sources.end(), tree);
    if (source != sources.end()) {
      program.push_back(static_cast<std::int32_t>(source - sources.begin()));
      depth_ = std::max(depth_, ++height);
      return;
    }
    CHECK(tree.level > 0 && Cover(tree, leaves).size() > 1);  // Else a source is missing.
    evaluate(Left(tree));
    if (Empty(Cover(Right(tree), leaves))) return;
    evaluate(Right(tree));
    program.push_back(kAdd);
    --height;
  };
  for (const Subtree& target : targets) {
    program.clear();
    height = 0;
    evaluate(target);
    programs_.push_back(program);
  }
}

void CombinePlan::Combine(std::span<const float* const> sources, std::span<float* const> outputs,
                          std::size_t n, const Done& done) const {
  CHECK(outputs.size() == programs_.size());
  const auto scratch = std::make_unique_for_overwrite<float[]>(depth_ * kChunk);
  std::vector<const float*> stack(depth_);
  for (std::size_t at = 0; at < n; at += kChunk) {
    const std::size_t size = std::min(kChunk, n - at);
    for (std::size_t target = 0; target < programs_.size(); ++target) {
      std::size_t height = 0;
      const std::vector<std::int32_t>& program = programs_[target];
      for (std::size_t i = 0; i < program.size(); ++i) {
        if (program[i] != kAdd) {
          stack[height++] = sources[static_cast<std::size_t>(program[i])] + at;
          continue;
        }
        --height;
        const bool last = i + 1 == program.size();
        float* sum = last ? outputs[target] + at : &scratch[(height - 1) * kChunk];
        AddKernel(sum, stack[height - 1], stack[height], size);
        stack[height - 1] = sum;
      }
      if (stack[0] != outputs[target] + at) {
        std::memcpy(outputs[target] + at, stack[0], size * sizeof(float));
      }
    }
    if (done) done(at, size);
  }
}

}  // namespace muster
