#include "runtime/train/checkpoint.h"

#include <cstring>
#include <map>

namespace muster {

std::vector<CheckpointTensor> CheckpointTensors(const Layout& layout) {
  static constexpr const char* kPrefixes[] = {"", "exp_avg.", "exp_avg_sq."};
  std::vector<CheckpointTensor> all;
  for (std::size_t array = 0; array < 3; ++array) {
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      const TensorSpec& spec = layout.tensors()[i];
      all.push_back({.tensor = {.name = kPrefixes[array] + spec.name,
                                .dtype = "F32",
                                .global_shape = spec.shape,
                                .offset = std::vector<std::uint64_t>(spec.shape.size(), 0),
                                .shape = spec.shape},
                     .array = array,
                     .offset = layout.offset(i),
                     .elements = spec.elements()});
    }
  }
  return all;
}

Status RestoreTensors(const LoadedCheckpoint& checkpoint, const Layout& layout,
                      std::span<float* const> arrays) {
  std::map<std::string, std::pair<const link::StagedTensor*, std::size_t>> found;
  std::size_t at = 0;
  for (const link::StagedTensor& tensor : checkpoint.tensors) {
    std::size_t bytes = sizeof(float);
    for (const std::uint64_t extent : tensor.shape) bytes *= extent;
    found[tensor.name] = {&tensor, at};
    at += bytes;
  }
  if (at != checkpoint.bytes.size()) {
    return Status(Code::kDataLoss, "the checkpoint has " + std::to_string(checkpoint.bytes.size()) +
                                       " bytes, its tensors say " + std::to_string(at));
  }
  const std::vector<CheckpointTensor> wanted = CheckpointTensors(layout);
  for (const CheckpointTensor& want : wanted) {
    const auto it = found.find(want.tensor.name);
    if (it == found.end() || *it->second.first != want.tensor) {
      return Status(
          Code::kInvalid,
          "the checkpoint has " +
              std::string(it == found.end() ? "no tensor " : "another shape or type for ") +
              want.tensor.name + "; it is of another model");
    }
    std::memcpy(arrays[want.array] + want.offset, checkpoint.bytes.data() + it->second.second,
                want.elements * sizeof(float));
  }
  if (found.size() != wanted.size()) {
    return Status(Code::kInvalid, "the checkpoint has " + std::to_string(found.size()) +
                                      " tensors, this model " + std::to_string(wanted.size()));
  }
  return {};
}

}  // namespace muster
