#include "runtime/checkpoint/region.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kLeftMax = 4096;  // Boxes kept in mind while looking for a missing one.

// `left` without `region`: at most two slabs a dimension.
void Subtract(const OwnRegion& left, const Region& region, std::vector<OwnRegion>& into) {
  OwnRegion shared;
  if (!Intersect(left.view(), region, &shared)) return into.push_back(left);
  OwnRegion rest = left;
  for (std::size_t d = 0; d < left.rank; ++d) {
    OwnRegion slab = rest;
    slab.shape[d] = shared.offset[d] - rest.offset[d];
    if (slab.shape[d] > 0) into.push_back(slab);
    slab.offset[d] = shared.offset[d] + shared.shape[d];
    slab.shape[d] = rest.offset[d] + rest.shape[d] - slab.offset[d];
    if (slab.shape[d] > 0) into.push_back(slab);
    rest.offset[d] = shared.offset[d];
    rest.shape[d] = shared.shape[d];
  }
}

// Some box of the tensor that no region holds.
std::string Missing(Extents global, std::span<const Region> regions) {
  const std::vector<std::uint64_t> zeros(global.size(), 0);
  std::vector<OwnRegion> left = {OwnRegion({.offset = zeros, .shape = global})};
  for (const Region& region : regions) {
    std::vector<OwnRegion> next;
    for (const OwnRegion& one : left) {
      if (next.size() < kLeftMax) Subtract(one, region, next);
    }
    left = std::move(next);
  }
  return left.empty() ? "" : "; nothing holds the " + RegionText(left.front().view());
}

// The dimension along which the regions are cut finest: sorted by it, a region meets few others.
std::size_t FinestDimension(Extents global, std::span<const Region> regions) {
  std::size_t best = 0;
  double best_share = 2;
  for (std::size_t d = 0; d < global.size(); ++d) {
    double sum = 0;
    for (const Region& region : regions) sum += static_cast<double>(region.shape[d]);
    const double share = sum / static_cast<double>(regions.size()) / static_cast<double>(global[d]);
    if (share < best_share) {
      best_share = share;
      best = d;
    }
  }
  return best;
}

bool Same(const Region& a, const Region& b) {
  return std::equal(a.offset.begin(), a.offset.end(), b.offset.begin(), b.offset.end()) &&
         std::equal(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end());
}

Status SavedTwice(const Region& region) {
  return Status(Code::kInvalid,
                RegionText(region) +
                    " is saved by two ranks; where several have the same part (replicas, as under "
                    "HSDP), each saves other rows of it: in Python, muster.Shard(array, offset, "
                    "global_shape, replica, replicas) is that");
}

}  // namespace

OwnRegion::OwnRegion(Region region) : rank(region.shape.size()) {
  CHECK(rank <= kRankMax && region.offset.size() == rank);
  std::copy(region.offset.begin(), region.offset.end(), offset.begin());
  std::copy(region.shape.begin(), region.shape.end(), shape.begin());
}

std::string ShapeText(Extents extents) {
  std::vector<std::string> parts;
  for (const std::uint64_t extent : extents) parts.push_back(std::to_string(extent));
  return "[" + Join(parts, ", ") + "]";
}

std::string RegionText(const Region& region) {
  return "box at " + ShapeText(region.offset) + " of shape " + ShapeText(region.shape);
}

std::uint64_t Volume(Extents shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

bool Inside(const Region& region, Extents global) {
  for (std::size_t d = 0; d < global.size(); ++d) {
    if (region.shape[d] > global[d] || region.offset[d] > global[d] - region.shape[d]) return false;
  }
  return true;
}

bool Intersect(const Region& a, const Region& b, OwnRegion* shared) {
  const std::size_t rank = a.shape.size();
  for (std::size_t d = 0; d < rank; ++d) {
    if (std::max(a.offset[d], b.offset[d]) >=
        std::min(a.offset[d] + a.shape[d], b.offset[d] + b.shape[d])) {
      return false;
    }
  }
  if (shared == nullptr) return true;
  shared->rank = rank;
  for (std::size_t d = 0; d < rank; ++d) {
    shared->offset[d] = std::max(a.offset[d], b.offset[d]);
    shared->shape[d] =
        std::min(a.offset[d] + a.shape[d], b.offset[d] + b.shape[d]) - shared->offset[d];
  }
  return true;
}

Status CheckCover(Extents global, std::span<const Region> regions) {
  const std::uint64_t due = Volume(global);
  std::uint64_t covered = 0;
  std::vector<const Region*> solid;
  solid.reserve(regions.size());
  for (const Region& region : regions) {
    const std::uint64_t volume = Volume(region.shape);
    // Each is at most `due`; a sum that could wrap is an overlap long before.
    covered = covered > due ? covered : covered + volume;
    if (volume > 0) solid.push_back(&region);
  }
  if (solid.size() > 1 && !global.empty()) {
    const std::size_t d = FinestDimension(global, regions);
    std::sort(solid.begin(), solid.end(),
              [d](const Region* a, const Region* b) { return a->offset[d] < b->offset[d]; });
    for (std::size_t i = 0; i < solid.size(); ++i) {
      const std::uint64_t end = solid[i]->offset[d] + solid[i]->shape[d];
      for (std::size_t j = i + 1; j < solid.size() && solid[j]->offset[d] < end; ++j) {
        if (!Intersect(*solid[i], *solid[j], nullptr)) continue;
        if (Same(*solid[i], *solid[j])) return SavedTwice(*solid[i]);
        return Status(Code::kInvalid,
                      RegionText(*solid[i]) + " and " + RegionText(*solid[j]) + " overlap");
      }
    }
  } else if (solid.size() > 1) {
    return SavedTwice(*solid[0]);
  }
  if (covered == due) return {};
  return Status(Code::kInvalid, "the shards hold " + std::to_string(covered) + " of the " +
                                    std::to_string(due) + " elements of the global shape " +
                                    ShapeText(global) + Missing(global, regions));
}

SharedRuns::SharedRuns(const Region& from, const Region& to, std::uint64_t item) {
  OwnRegion shared;
  if (!Intersect(from, to, &shared)) return;
  const std::size_t rank = shared.rank;
  // From dimension `cut_` on, rows of both are rows of what they share: one run of bytes.
  std::size_t cut = rank;
  while (cut > 0 && shared.shape[cut - 1] == from.shape[cut - 1] &&
         shared.shape[cut - 1] == to.shape[cut - 1]) {
    --cut;
  }
  cut_ = cut > 0 ? cut - 1 : 0;
  run_ = item;
  for (std::size_t d = cut_; d < rank; ++d) run_ *= shared.shape[d];
  count_ = 1;
  std::uint64_t from_stride = item;
  std::uint64_t to_stride = item;
  for (std::size_t d = rank; d > 0; --d) {
    const std::size_t k = d - 1;
    from_base_ += (shared.offset[k] - from.offset[k]) * from_stride;
    to_base_ += (shared.offset[k] - to.offset[k]) * to_stride;
    if (k < cut_) {
      extent_[k] = shared.shape[k];
      from_stride_[k] = from_stride;
      to_stride_[k] = to_stride;
      count_ *= shared.shape[k];
    }
    from_stride *= from.shape[k];
    to_stride *= to.shape[k];
  }
}

std::uint64_t SharedRuns::At(std::uint64_t run, std::uint64_t base, const Strides& strides) const {
  for (std::size_t d = cut_; d > 0; --d) {
    base += run % extent_[d - 1] * strides[d - 1];
    run /= extent_[d - 1];
  }
  return base;
}

void CopyShared(const SharedRuns& runs, std::uint64_t begin, std::span<const std::byte> bytes,
                std::byte* into) {
  const std::uint64_t end = begin + bytes.size();
  // The first run that ends behind `begin`.
  std::uint64_t low = 0;
  std::uint64_t high = runs.count();
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (runs.FromAt(middle) + runs.bytes() <= begin) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (std::uint64_t run = low; run < runs.count(); ++run) {
    const std::uint64_t at = runs.FromAt(run);
    if (at >= end) return;
    const std::uint64_t from = std::max(at, begin);
    const std::uint64_t to = std::min(at + runs.bytes(), end);
    std::memcpy(into + runs.ToAt(run) + (from - at), bytes.data() + (from - begin), to - from);
  }
}

}  // namespace muster::checkpoint
