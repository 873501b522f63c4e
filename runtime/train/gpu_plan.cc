#include "runtime/train/gpu_plan.h"

#include <algorithm>
#include <cmath>

#include "runtime/comm/canonical.h"

namespace muster {
namespace {

constexpr double kEmaKeep = 0.95;

}  // namespace

Result<GpuSumPlan> GpuSumPlan::Make(const Layout& layout, const Topology& topology,
                                    std::size_t sources_most, std::size_t program_most,
                                    std::size_t group_elements) {
  GpuSumPlan plan;
  plan.ranks_ = topology.nodes();
  const std::size_t grain = Layout::kAlignment * plan.ranks_;
  const std::size_t size = std::max<std::size_t>(1, group_elements / grain) * grain;
  const std::size_t whole = (layout.gradient_elements() + grain - 1) / grain * grain;
  for (std::size_t at = 0; at < whole; at += size) {
    plan.groups_.push_back({.begin = at, .end = std::min(at + size, whole)});
  }
  const Topology::Combination sums = topology.combination();
  std::vector<Subtree> world;
  for (std::size_t rank = 0; rank < plan.ranks_; ++rank) {
    const std::vector<Subtree>& trees = sums.of_node[rank];
    for (std::size_t i = 0; i < trees.size(); ++i) plan.sources_.push_back({rank, i});
    world.insert(world.end(), trees.begin(), trees.end());
    plan.rounds_ = std::max(plan.rounds_, trees.size());
  }
  const auto root = MaximalSubtrees({.begin = 0, .end = sums.world_leaves}, sums.world_leaves);
  plan.program_ = CombinePlan(world, root, sums.world_leaves).programs()[0];
  if (plan.sources_.size() > sources_most || plan.program_.size() > program_most) {
    return Status(Code::kInvalid,
                  std::to_string(topology.micro_batches()) + " micro-batches over " +
                      std::to_string(plan.ranks_) + " GPUs give " +
                      std::to_string(plan.sources_.size()) + " partial sums, allowed are " +
                      std::to_string(sources_most) +
                      ": take a number of micro-batches that is a power of two times that of GPUs");
  }
  return plan;
}

std::size_t GpuSumPlan::GroupsWithin(std::size_t elements) const {
  const auto beyond = std::find_if(groups_.begin(), groups_.end(),
                                   [&](const Range& group) { return group.end > elements; });
  return static_cast<std::size_t>(beyond - groups_.begin());
}

Range GpuSumPlan::Slice(std::size_t group, std::size_t rank) const {
  const Range& whole = groups_[group];
  const std::size_t each = whole.size() / ranks_;
  return {.begin = whole.begin + rank * each, .end = whole.begin + (rank + 1) * each};
}

Result<GpuVerdict> Judge(const TrainOptions& options, std::uint32_t micro_batches,
                         const GpuProgress& now, const GpuSums& sums) {
  GpuVerdict verdict{.loss = static_cast<double>(sums.tail[Layout::kTailLoss]) / micro_batches,
                     .stop = sums.tail[Layout::kTailStop] > 0,
                     .next = now};
  verdict.broken = sums.broken;
  if (verdict.broken.empty() && !std::isfinite(verdict.loss)) verdict.broken = "the loss";
  verdict.update = verdict.broken.empty();
  if (!verdict.update && options.on_nan == OnNan::kStop &&
      !MayBlameScale(options.loss_scaling, now.scale)) {
    return Status(Code::kDataLoss, "step " + std::to_string(now.step) + ": " + verdict.broken +
                                       " is not finite (NaN or Inf); nothing was changed, the last "
                                       "checkpoint stands");
  }
  if (verdict.update) {
    verdict.gradient_scale =
        GradientScale(options.optimizer, TreeSum(sums.squares), micro_batches, now.scale.scale);
    const bool first = now.step == now.skipped;
    verdict.next.loss_ema =
        first ? verdict.loss : kEmaKeep * now.loss_ema + (1 - kEmaKeep) * verdict.loss;
  } else {
    ++verdict.next.skipped;
  }
  verdict.next.scale = After(options.loss_scaling, now.scale, verdict.update);
  ++verdict.next.step;
  return verdict;
}

}  // namespace muster
