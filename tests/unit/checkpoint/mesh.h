// A mesh of ranks, and what each holds and saves of a model: tensor, pipeline and data parallel,
// with ZeRO-1 shards of what belongs to the optimizer.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/checkpoint/box.h"

namespace muster::checkpoint {

struct Mesh {
  std::uint32_t tp = 1, pp = 1, dp = 1;
  bool zero1 = false;

  std::uint32_t ranks() const { return tp * pp * dp; }
  std::string Text() const {
    return "tp " + std::to_string(tp) + " pp " + std::to_string(pp) + " dp " + std::to_string(dp) +
           (zero1 ? " zero1" : "");
  }

  // Cut evenly along a dimension.
  static StagedTensor Cut(StagedTensor box, std::size_t d, std::uint32_t part,
                          std::uint32_t parts) {
    const std::uint64_t from = box.shape[d] * part / parts;
    const std::uint64_t to = box.shape[d] * (part + 1) / parts;
    box.offset[d] += from;
    box.shape[d] = to - from;
    return box;
  }

  static bool IsOptimizer(const StagedTensor& box) { return box.name.starts_with("exp_avg"); }

  // Tensors go to pipeline stages in turn; tp cuts the last dimension, ZeRO-1 the first.
  std::vector<StagedTensor> Holds(std::uint32_t rank, const std::vector<StagedTensor>& all) const {
    const std::uint32_t t = rank % tp, p = rank / tp % pp, d = rank / tp / pp;
    std::vector<StagedTensor> held;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % pp != p) continue;
      const bool flat = all[i].shape.empty();  // Replicated over tp.
      StagedTensor box = flat ? all[i] : Cut(all[i], all[i].shape.size() - 1, t, tp);
      if (zero1 && IsOptimizer(box)) box = Cut(box, 0, d, dp);
      held.push_back(std::move(box));
    }
    return held;
  }

  // Of what replicas hold alike, each saves a part.
  std::vector<StagedTensor> SavedBy(std::uint32_t rank,
                                    const std::vector<StagedTensor>& all) const {
    const std::uint32_t t = rank % tp, d = rank / tp / pp;
    std::vector<StagedTensor> saved;
    const std::vector<StagedTensor> held = Holds(rank, all);
    for (const StagedTensor& box : held) {
      if (box.shape.empty()) {
        if (t == 0 && d == 0) saved.push_back(box);
        continue;
      }
      saved.push_back(zero1 && IsOptimizer(box) ? box : Cut(box, 0, d, dp));
    }
    return saved;
  }
};

}  // namespace muster::checkpoint
