// Reads the header of a safetensors file, as strictly as the format is written down: whatever else
// a file's first bytes are is an error and nothing worse.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"

namespace muster::checkpoint {

struct HeaderTensor {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  // In the file.
};

struct ShardHeader {
  std::uint64_t bytes = 0;            // Of the header: where the data begin.
  std::vector<HeaderTensor> tensors;  // As they lie in the file, without gaps.
  std::map<std::string, std::string> metadata;
};

// How long the header is, from the file's first 8 bytes.  kDataLoss: no reader would take it.
Result<std::uint64_t> ShardHeaderBytes(std::string_view first_bytes);

// `bytes`: the header, or more of the file.  kDataLoss, with the tensor's name where there is one.
Result<ShardHeader> ParseShardHeader(std::string_view bytes, std::uint64_t file_size);

}  // namespace muster::checkpoint
