#include "runtime/checkpoint/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

namespace muster::checkpoint {
namespace {

using nlohmann::json;

constexpr std::size_t kAlign = 4096;
constexpr std::size_t kHeaderMax = 100'000'000;  // What readers of safetensors accept.

// The largest elements first, so that all are aligned; else as they lie in memory.
std::vector<std::size_t> FileOrder(std::span<const StagedTensor> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return ItemBytes(tensors[a].dtype) > ItemBytes(tensors[b].dtype);
  });
  return order;
}

std::string WithLength(std::string text) {
  const std::size_t whole = (8 + text.size() + kAlign - 1) / kAlign * kAlign;
  text.resize(whole - 8, ' ');
  std::string header;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    header += static_cast<char>(static_cast<std::uint64_t>(text.size()) >> shift & 0xffU);
  }
  return header + text;
}

}  // namespace

Result<ShardLayout> LayoutShard(std::span<const StagedTensor> tensors,
                                std::map<std::string, std::string> metadata) {
  for (const StagedTensor& tensor : tensors) RETURN_IF_ERROR(CheckBox(tensor));
  ShardLayout layout;
  layout.order = FileOrder(tensors);
  layout.begins.resize(tensors.size());

  json header = json::object();
  json shards = json::object();
  std::uint64_t at = 0;
  for (const std::size_t i : layout.order) {
    const StagedTensor& tensor = tensors[i];
    std::string key = tensor.name;
    for (int k = 1; header.contains(key); ++k) key = tensor.name + "#" + std::to_string(k);
    const std::uint64_t end = at + BoxBytes(tensor);
    header[key] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", json::array({at, end})}};
    shards[key] = {
        {"name", tensor.name}, {"global_shape", tensor.global_shape}, {"offset", tensor.offset}};
    layout.begins[i] = at;
    at = end;
  }
  try {
    metadata["muster.shards"] = shards.dump();
    header["__metadata__"] = metadata;
    layout.header = WithLength(header.dump());
  } catch (const json::exception& e) {
    return Status(Code::kInvalid, std::string("a tensor's name is not UTF-8: ") + e.what());
  }
  if (layout.header.size() > kHeaderMax) {
    return Status(Code::kInvalid, "a shard's header of " + std::to_string(layout.header.size()) +
                                      " bytes is over the 100000000 that readers accept; write " +
                                      "from more nodes, or fewer tensors");
  }
  for (std::uint64_t& begin : layout.begins) begin += layout.header.size();
  layout.size = at + layout.header.size();
  return layout;
}

}  // namespace muster::checkpoint
