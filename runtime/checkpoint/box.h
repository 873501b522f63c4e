// Boxes of tensors: a box is [offset, offset + shape) of a tensor of `global_shape`, row major.
// A shard holds boxes; the boxes of all shards together must be the whole tensor, once.
//
// Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/link.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/region.h"

namespace muster::checkpoint {

using link::StagedTensor;

// Bytes of one element, such as 4 for "F32".  nullopt: no dtype of safetensors in whole bytes.
std::optional<std::uint64_t> ItemBytes(std::string_view dtype);

// A dtype as one byte of a manifest.  nullopt or "": not known.
std::optional<std::uint8_t> DtypeCode(std::string_view dtype);
std::string_view DtypeName(std::uint8_t code);

// A tensor of its own: the box that is everything.
StagedTensor WholeTensor(std::string name, std::string dtype, std::vector<std::uint64_t> shape);

// The error names the tensor and says what is wrong with its name, dtype or shape.
Status CheckTensor(std::string_view name, std::string_view dtype, Extents global);
// The error names the tensor and says what is wrong with its name, dtype or place.
Status CheckBox(const StagedTensor& box);

// Bytes of a box that CheckBox passed.
std::uint64_t BoxBytes(const StagedTensor& box);
std::uint64_t TotalBytes(std::span<const StagedTensor> boxes);

// `boxes` are all the boxes of one tensor.  ok: each element is in exactly one of them.
Status CheckTiling(std::span<const StagedTensor> boxes);

// Copies part of a box into the whole tensor: `bytes` are the box's own bytes from `begin` on.
void CopyIntoWhole(const StagedTensor& box, std::uint64_t begin, std::span<const std::byte> bytes,
                   std::span<std::byte> whole);

// What node `node` of `nodes` writes when all hold the same whole tensors: a run of bytes of them,
// cut at rows (the first dimension), as even as that allows.  The nodes' shares tile everything.
struct Share {
  std::uint64_t begin = 0, end = 0;  // In the tensors' bytes, one after the other.
  std::vector<StagedTensor> boxes;
};
Share ShareOf(std::span<const StagedTensor> whole, std::uint32_t node, std::uint32_t nodes);

}  // namespace muster::checkpoint
