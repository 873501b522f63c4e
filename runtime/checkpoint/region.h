// Regions of tensors, as plain extents: what two share, what a set of them leaves out, and copying
// between two row-major memories.
//
// A region is [offset, offset + shape) of a tensor; all extents of one call have the same rank, at
// most kRankMax.  Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "runtime/base/result.h"

namespace muster::checkpoint {

inline constexpr std::size_t kRankMax = 32;

using Extents = std::span<const std::uint64_t>;

struct Region {
  Extents offset, shape;
};

// A region that has its own extents.
class OwnRegion {
 public:
  OwnRegion() = default;
  explicit OwnRegion(Region region);
  Region view() const { return {.offset = {offset.data(), rank}, .shape = {shape.data(), rank}}; }

  std::array<std::uint64_t, kRankMax> offset, shape;
  std::size_t rank = 0;
};

std::string ShapeText(Extents extents);        // "[4, 6]"
std::string RegionText(const Region& region);  // "box at [0, 2] of shape [4, 4]"

// Elements; the product must fit.
std::uint64_t Volume(Extents shape);
bool Inside(const Region& region, Extents global);

// False, and nothing is written, when they share no element.
bool Intersect(const Region& a, const Region& b, OwnRegion* shared);

// ok: each element of the tensor is in exactly one of the regions, which lie inside.  The error
// names two that overlap, or a box that none of them holds.
Status CheckCover(Extents global, std::span<const Region> regions);

// What two regions of a tensor share, as runs of bytes that lie together in the row-major memory of
// either.  Runs are counted in the order of both.
class SharedRuns {
 public:
  SharedRuns(const Region& from, const Region& to, std::uint64_t item);

  std::uint64_t count() const { return count_; }
  std::uint64_t bytes() const { return run_; }  // Of one run.
  std::uint64_t FromAt(std::uint64_t run) const { return At(run, from_base_, from_stride_); }
  std::uint64_t ToAt(std::uint64_t run) const { return At(run, to_base_, to_stride_); }
  // The bytes of `from` that any run touches: [begin, end).
  std::uint64_t begin() const { return from_base_; }
  std::uint64_t end() const { return FromAt(count_ - 1) + run_; }
  // Calls visit(begin, end) for the bytes of `from` that runs touch, those that are less than `gap`
  // apart together.
  template <typename Visit>
  void Touch(std::uint64_t gap, const Visit& visit) const {
    std::uint64_t length = run_;
    std::uint64_t together = 1;
    for (std::size_t d = cut_; d > 0 && from_stride_[d - 1] - length < gap; --d) {
      length += (extent_[d - 1] - 1) * from_stride_[d - 1];
      together *= extent_[d - 1];
    }
    for (std::uint64_t run = 0; run < count_; run += together) {
      visit(FromAt(run), FromAt(run) + length);
    }
  }

 private:
  using Strides = std::array<std::uint64_t, kRankMax>;
  std::uint64_t At(std::uint64_t run, std::uint64_t base, const Strides& strides) const;

  std::uint64_t count_ = 0, run_ = 0, from_base_ = 0, to_base_ = 0;
  std::size_t cut_ = 0;  // Runs are counted over the dimensions before it.
  Strides extent_, from_stride_, to_stride_;
};

// Copies what `from` and `to` share, as far as it lies in `bytes`: those of `from`, from its byte
// `begin` on.  `into` is all of `to`.
void CopyShared(const SharedRuns& runs, std::uint64_t begin, std::span<const std::byte> bytes,
                std::byte* into);

}  // namespace muster::checkpoint
