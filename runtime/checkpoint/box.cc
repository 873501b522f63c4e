#include "runtime/checkpoint/box.h"

#include <algorithm>

#include "runtime/base/dtype.h"
#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 60U;

bool Fits(Extents shape, std::uint64_t item) {
  if (std::find(shape.begin(), shape.end(), 0U) != shape.end()) return true;
  std::uint64_t bytes = item;
  for (const std::uint64_t extent : shape) {
    if (bytes > kBytesMax / extent) return false;
    bytes *= extent;
  }
  return true;
}

Region RegionOf(const StagedTensor& box) {
  return {.offset = box.offset, .shape = box.shape};
}

Status Wrong(std::string_view name, const std::string& what) {
  return Status(Code::kInvalid, "tensor \"" + std::string(name) + "\": " + what);
}

}  // namespace

std::optional<std::uint64_t> ItemBytes(std::string_view dtype) {
  return DtypeBytes(dtype);
}

std::optional<std::uint8_t> DtypeCode(std::string_view dtype) {
  const auto at = std::find_if(kDtypes.begin(), kDtypes.end(),
                               [&](const Dtype& known) { return known.name == dtype; });
  if (at == kDtypes.end()) return std::nullopt;
  return static_cast<std::uint8_t>(at - kDtypes.begin());
}

std::string_view DtypeName(std::uint8_t code) {
  return code < kDtypes.size() ? kDtypes[code].name : std::string_view();
}

StagedTensor WholeTensor(std::string name, std::string dtype, std::vector<std::uint64_t> shape) {
  StagedTensor whole{.name = std::move(name),
                     .dtype = std::move(dtype),
                     .global_shape = shape,
                     .offset = std::vector<std::uint64_t>(shape.size(), 0)};
  whole.shape = std::move(shape);
  return whole;
}

Status CheckTensor(std::string_view name, std::string_view dtype, Extents global) {
  if (name.empty() || name.size() > 1000 || name == "__metadata__" ||
      std::any_of(name.begin(), name.end(), [](char c) { return c >= 0 && c < ' '; })) {
    return Wrong(name,
                 "a name has 1 to 1000 bytes, no control characters, and is not __metadata__");
  }
  const auto item = ItemBytes(dtype);
  if (!item.has_value()) {
    std::vector<std::string> known;
    for (const Dtype& one : kDtypes) known.emplace_back(one.name);
    return Wrong(name, "dtype \"" + std::string(dtype) + "\" is not one of " + Join(known, " "));
  }
  if (global.size() > kRankMax) {
    return Wrong(name, "it has " + std::to_string(global.size()) + " dimensions, at most " +
                           std::to_string(kRankMax) + " are allowed");
  }
  if (!Fits(global, *item)) {
    return Wrong(name, "global shape " + ShapeText(global) + " is too large");
  }
  return {};
}

Status CheckBox(const StagedTensor& box) {
  RETURN_IF_ERROR(CheckTensor(box.name, box.dtype, box.global_shape));
  const std::size_t rank = box.global_shape.size();
  if (box.offset.size() != rank || box.shape.size() != rank) {
    return Wrong(box.name, RegionText(RegionOf(box)) + " does not have the " +
                               std::to_string(rank) + " dimensions of the global shape " +
                               ShapeText(box.global_shape));
  }
  if (!Inside(RegionOf(box), box.global_shape)) {
    return Wrong(box.name, RegionText(RegionOf(box)) + " reaches outside of the global shape " +
                               ShapeText(box.global_shape));
  }
  return {};
}

std::uint64_t BoxBytes(const StagedTensor& box) {
  return Volume(box.shape) * ItemBytes(box.dtype).value_or(0);
}

std::uint64_t TotalBytes(std::span<const StagedTensor> boxes) {
  std::uint64_t total = 0;
  for (const StagedTensor& box : boxes) total += BoxBytes(box);
  return total;
}

Status CheckTiling(std::span<const StagedTensor> boxes) {
  CHECK(!boxes.empty());
  const StagedTensor& first = boxes.front();
  std::vector<Region> regions;
  for (const StagedTensor& box : boxes) {
    RETURN_IF_ERROR(CheckBox(box));
    if (box.dtype != first.dtype || box.global_shape != first.global_shape) {
      return Wrong(box.name, "one writer says " + first.dtype + " " +
                                 ShapeText(first.global_shape) + ", another " + box.dtype + " " +
                                 ShapeText(box.global_shape));
    }
    regions.push_back(RegionOf(box));
  }
  return CheckCover(first.global_shape, regions).While("tensor \"" + first.name + "\"");
}

void CopyIntoWhole(const StagedTensor& box, std::uint64_t begin, std::span<const std::byte> bytes,
                   std::span<std::byte> whole) {
  const std::vector<std::uint64_t> zeros(box.shape.size(), 0);
  const SharedRuns runs(RegionOf(box), {.offset = zeros, .shape = box.global_shape},
                        ItemBytes(box.dtype).value_or(0));
  CHECK(runs.count() == 0 || runs.ToAt(runs.count() - 1) + runs.bytes() <= whole.size());
  CopyShared(runs, begin, bytes, whole.data());
}

Share ShareOf(std::span<const StagedTensor> whole, std::uint32_t node, std::uint32_t nodes) {
  CHECK(node < nodes);
  const std::uint64_t total = TotalBytes(whole);
  const auto goal = [&](std::uint64_t n) {  // total * n / nodes, without overflow.
    return total / nodes * n + total % nodes * n / nodes;
  };
  Share share;
  std::uint64_t at = 0;
  for (const StagedTensor& tensor : whole) {
    const std::uint64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    const std::uint64_t bytes = BoxBytes(tensor);
    if (bytes == 0) {
      if (goal(node) <= at && (node + 1 == nodes || at < goal(node + 1))) {
        share.boxes.push_back(tensor);
      }
      continue;
    }
    const std::uint64_t row = bytes / rows;
    // A row belongs to the node in whose part of the bytes it begins.
    const auto first_row = [&](std::uint64_t n) -> std::uint64_t {
      if (n == nodes) return rows;
      if (goal(n) <= at) return 0;
      return std::min(rows, (goal(n) - at + row - 1) / row);
    };
    const std::uint64_t from = first_row(node);
    const std::uint64_t to = first_row(node + 1);
    if (from < to) {
      StagedTensor box = tensor;
      if (!box.shape.empty()) {
        box.offset[0] = from;
        box.shape[0] = to - from;
      }
      if (share.end == 0) share.begin = at + from * row;
      share.end = at + to * row;
      share.boxes.push_back(std::move(box));
    }
    at += bytes;
  }
  return share;
}

}  // namespace muster::checkpoint
