#include "runtime/checkpoint/box.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

struct Dtype {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<Dtype, 18> kDtypes = {{{"BOOL", 1},
                                            {"U8", 1},
                                            {"I8", 1},
                                            {"F8_E5M2", 1},
                                            {"F8_E4M3", 1},
                                            {"F8_E8M0", 1},
                                            {"F8_E4M3FNUZ", 1},
                                            {"F8_E5M2FNUZ", 1},
                                            {"I16", 2},
                                            {"U16", 2},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"I32", 4},
                                            {"U32", 4},
                                            {"F32", 4},
                                            {"F64", 8},
                                            {"I64", 8},
                                            {"U64", 8}}};
constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 60U;

using Shape = std::vector<std::uint64_t>;

std::string Text(const Shape& shape) {
  std::vector<std::string> parts;
  for (const std::uint64_t extent : shape) parts.push_back(std::to_string(extent));
  return "[" + Join(parts, ", ") + "]";
}

std::uint64_t Product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

bool Fits(const Shape& shape, std::uint64_t item) {
  if (std::find(shape.begin(), shape.end(), 0U) != shape.end()) return true;
  std::uint64_t bytes = item;
  for (const std::uint64_t extent : shape) {
    if (bytes > kBytesMax / extent) return false;
    bytes *= extent;
  }
  return true;
}

bool Intersect(const StagedTensor& a, const StagedTensor& b) {
  for (std::size_t d = 0; d < a.shape.size(); ++d) {
    if (a.offset[d] >= b.offset[d] + b.shape[d] || b.offset[d] >= a.offset[d] + a.shape[d]) {
      return false;
    }
  }
  return true;
}

std::string Place(const StagedTensor& box) {
  return "box at " + Text(box.offset) + " of shape " + Text(box.shape);
}

Status Wrong(const StagedTensor& box, const std::string& what) {
  return Status(Code::kInvalid, "tensor \"" + box.name + "\": " + what);
}

}  // namespace

std::optional<std::uint64_t> ItemBytes(std::string_view dtype) {
  for (const Dtype& known : kDtypes) {
    if (known.name == dtype) return known.bytes;
  }
  return std::nullopt;
}

StagedTensor WholeTensor(std::string name, std::string dtype, std::vector<std::uint64_t> shape) {
  StagedTensor whole{.name = std::move(name),
                     .dtype = std::move(dtype),
                     .global_shape = shape,
                     .offset = Shape(shape.size(), 0)};
  whole.shape = std::move(shape);
  return whole;
}

Status CheckBox(const StagedTensor& box) {
  if (box.name.empty() || box.name.size() > 1000 || box.name == "__metadata__" ||
      std::any_of(box.name.begin(), box.name.end(), [](char c) { return c > 0 && c < ' '; })) {
    return Wrong(box, "a name has 1 to 1000 bytes, no control characters, and is not __metadata__");
  }
  const auto item = ItemBytes(box.dtype);
  if (!item.has_value()) {
    std::vector<std::string> known;
    for (const Dtype& dtype : kDtypes) known.emplace_back(dtype.name);
    return Wrong(box, "dtype \"" + box.dtype + "\" is not one of " + Join(known, " "));
  }
  const std::size_t rank = box.global_shape.size();
  if (box.offset.size() != rank || box.shape.size() != rank) {
    return Wrong(box, Place(box) + " does not have the " + std::to_string(rank) +
                          " dimensions of the global shape " + Text(box.global_shape));
  }
  if (!Fits(box.global_shape, *item)) {
    return Wrong(box, "global shape " + Text(box.global_shape) + " is too large");
  }
  for (std::size_t d = 0; d < rank; ++d) {
    if (box.shape[d] > box.global_shape[d] || box.offset[d] > box.global_shape[d] - box.shape[d]) {
      return Wrong(box,
                   Place(box) + " reaches outside of the global shape " + Text(box.global_shape));
    }
  }
  return {};
}

std::uint64_t BoxBytes(const StagedTensor& box) {
  return Product(box.shape) * ItemBytes(box.dtype).value_or(0);
}

std::uint64_t TotalBytes(std::span<const StagedTensor> boxes) {
  std::uint64_t total = 0;
  for (const StagedTensor& box : boxes) total += BoxBytes(box);
  return total;
}

Status CheckTiling(std::span<const StagedTensor> boxes) {
  CHECK(!boxes.empty());
  std::uint64_t covered = 0;
  std::vector<const StagedTensor*> solid;
  for (const StagedTensor& box : boxes) {
    RETURN_IF_ERROR(CheckBox(box));
    const StagedTensor& first = boxes.front();
    if (box.dtype != first.dtype || box.global_shape != first.global_shape) {
      return Wrong(box, "one writer says " + first.dtype + " " + Text(first.global_shape) +
                            ", another " + box.dtype + " " + Text(box.global_shape));
    }
    covered += Product(box.shape);
    if (Product(box.shape) > 0) solid.push_back(&box);
  }
  // Sorted along the first dimension, a box can only meet those that begin before it ends.
  const auto start = [](const StagedTensor* b) { return b->offset.empty() ? 0 : b->offset[0]; };
  const auto extent = [](const StagedTensor* b) { return b->shape.empty() ? 1 : b->shape[0]; };
  std::sort(solid.begin(), solid.end(),
            [&](const auto* a, const auto* b) { return start(a) < start(b); });
  for (std::size_t i = 0; i < solid.size(); ++i) {
    const std::uint64_t end = start(solid[i]) + extent(solid[i]);
    for (std::size_t j = i + 1; j < solid.size() && start(solid[j]) < end; ++j) {
      if (!Intersect(*solid[i], *solid[j])) continue;
      return Wrong(*solid[i], Place(*solid[i]) + " and " + Place(*solid[j]) + " overlap");
    }
  }
  const std::uint64_t due = Product(boxes.front().global_shape);
  if (covered == due) return {};
  return Wrong(boxes.front(), "the shards hold " + std::to_string(covered) + " of the " +
                                  std::to_string(due) + " elements of the global shape " +
                                  Text(boxes.front().global_shape));
}

void CopyIntoWhole(const StagedTensor& box, std::uint64_t begin, std::span<const std::byte> bytes,
                   std::span<std::byte> whole) {
  const std::uint64_t item = ItemBytes(box.dtype).value_or(0);
  const std::size_t rank = box.shape.size();
  // From dimension `cut` on, rows of the box are rows of the whole: one run of bytes.
  std::size_t cut = rank;
  while (cut > 0 && box.shape[cut - 1] == box.global_shape[cut - 1]) --cut;
  if (cut > 0) --cut;
  std::uint64_t run = item;
  std::uint64_t row = item;  // Bytes of the whole tensor below dimension `cut`.
  for (std::size_t d = cut + 1; d < rank; ++d) row *= box.global_shape[d];
  for (std::size_t d = cut; d < rank; ++d) run *= box.shape[d];

  while (!bytes.empty()) {
    std::uint64_t index = begin / run;  // Which run; then its place in dimensions before `cut`.
    const std::uint64_t within = begin % run;
    std::uint64_t at = rank == 0 ? 0 : box.offset[cut] * row;
    std::uint64_t stride = rank == 0 ? row : row * box.global_shape[cut];
    for (std::size_t d = cut; d > 0; --d) {
      at += (box.offset[d - 1] + index % box.shape[d - 1]) * stride;
      index /= box.shape[d - 1];
      stride *= box.global_shape[d - 1];
    }
    const std::size_t n = std::min<std::uint64_t>(run - within, bytes.size());
    CHECK(at + within + n <= whole.size());
    std::memcpy(whole.data() + at + within, bytes.data(), n);
    begin += n;
    bytes = bytes.subspan(n);
  }
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
