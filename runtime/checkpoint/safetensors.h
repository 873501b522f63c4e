// One shard as a safetensors file, so that Python reads it: where each tensor lies, and the header.
//
// The header is padded so that the data begin at a multiple of 4096; tensors stand in order of
// falling element size, then name, without gaps.  A tensor of which this file holds several boxes
// is named "name", "name#1", "name#2"; `muster.shards` in __metadata__ says which box each is.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/box.h"

namespace muster::checkpoint {

struct ShardLayout {
  std::string header;                 // Length, JSON and padding: the file's first bytes.
  std::vector<std::size_t> order;     // Of the tensors in the file, as indices.
  std::vector<std::uint64_t> begins;  // Of each tensor: where its bytes begin in the file.
  std::uint64_t size = 0;             // Of the file.
};

// `metadata` goes into __metadata__ as it is.
Result<ShardLayout> LayoutShard(std::span<const StagedTensor> tensors,
                                std::map<std::string, std::string> metadata);

}  // namespace muster::checkpoint
