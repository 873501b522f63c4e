#include "runtime/train/checkpoint.h"

#include <algorithm>

#include "runtime/checkpoint/box.h"

namespace muster {
namespace {

// Elements [begin, end) of a box, counted in its own order, as boxes whose bytes follow each other:
// the rest of a row, whole rows, the beginning of a row; rows are cut the same way.
void CutRun(const link::StagedTensor& box, std::size_t dimension, Range run,
            std::vector<link::StagedTensor>& into) {
  if (run.begin >= run.end) return;
  std::size_t row = 1;
  for (std::size_t d = dimension + 1; d < box.shape.size(); ++d) row *= box.shape[d];
  const auto rows = [&](std::size_t first, std::size_t count) {
    link::StagedTensor part = box;
    part.offset[dimension] += first;
    part.shape[dimension] = count;
    return part;
  };
  if (dimension == box.shape.size()) {
    into.push_back(box);
    return;
  }
  const std::size_t first = run.begin / row;
  const std::size_t last = run.end / row;
  const Range head = {.begin = run.begin % row,
                      .end = first == last         ? run.end % row
                             : run.begin % row > 0 ? row
                                                   : 0};
  if (head.begin < head.end) CutRun(rows(first, 1), dimension + 1, head, into);
  const std::size_t next = head.begin < head.end ? first + 1 : first;
  if (next < last) into.push_back(rows(next, last - next));
  if (next <= last && run.end % row > 0) {
    CutRun(rows(last, 1), dimension + 1, {.begin = 0, .end = run.end % row}, into);
  }
}

}  // namespace

std::size_t CheckpointShard::bytes() const {
  std::size_t elements = 0;
  for (const Run& run : runs) elements += run.elements;
  return elements * sizeof(float);
}

CheckpointShard EvenShard(const Layout& layout, std::uint32_t node, std::uint32_t nodes) {
  const std::vector<CheckpointTensor> tensors = CheckpointTensors(layout);
  std::vector<link::StagedTensor> whole;
  for (const CheckpointTensor& tensor : tensors) whole.push_back(tensor.tensor);
  checkpoint::Share share = checkpoint::ShareOf(whole, node, nodes);
  CheckpointShard shard{.boxes = std::move(share.boxes)};
  std::size_t at = 0;  // Elements of the tensors before.
  for (const CheckpointTensor& tensor : tensors) {
    const std::size_t from = std::max(at, share.begin / sizeof(float));
    const std::size_t to = std::min(at + tensor.elements, share.end / sizeof(float));
    if (from < to) {
      shard.runs.push_back(
          {.array = tensor.array, .offset = tensor.offset + (from - at), .elements = to - from});
    }
    at += tensor.elements;
  }
  return shard;
}

CheckpointShard ShardOfRange(const Layout& layout, Range range) {
  CheckpointShard shard;
  for (const CheckpointTensor& tensor : CheckpointTensors(layout)) {
    const Range cut = {.begin = std::max(tensor.offset, range.begin),
                       .end = std::min(tensor.offset + tensor.elements, range.end)};
    if (tensor.elements == 0 && range.begin == 0) shard.boxes.push_back(tensor.tensor);
    if (cut.begin >= cut.end) continue;
    shard.runs.push_back({.array = tensor.array, .offset = cut.begin, .elements = cut.size()});
    CutRun(tensor.tensor, 0, {.begin = cut.begin - tensor.offset, .end = cut.end - tensor.offset},
           shard.boxes);
  }
  return shard;
}

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

RestoreTargets TargetsOf(const Layout& layout, std::span<const ArrayPart> arrays) {
  RestoreTargets targets;
  for (const CheckpointTensor& tensor : CheckpointTensors(layout)) {
    const ArrayPart& into = arrays[tensor.array];
    const Range cut = {.begin = std::max(tensor.offset, into.range.begin),
                       .end = std::min(tensor.offset + tensor.elements, into.range.end)};
    if (cut.begin >= cut.end) continue;
    const std::size_t first = targets.boxes.size();
    CutRun(tensor.tensor, 0, {.begin = cut.begin - tensor.offset, .end = cut.end - tensor.offset},
           targets.boxes);
    auto* at = reinterpret_cast<std::byte*>(into.at(cut.begin));
    for (std::size_t i = first; i < targets.boxes.size(); ++i) {
      targets.into.push_back(at);
      at += checkpoint::BoxBytes(targets.boxes[i]);
    }
  }
  return targets;
}

Status CheckSameModel(const checkpoint::Manifest& manifest, const Layout& layout) {
  const std::vector<CheckpointTensor> wanted = CheckpointTensors(layout);
  for (const CheckpointTensor& want : wanted) {
    const auto found = manifest.Find(want.tensor.name);
    if (found && manifest.tensor(*found).dtype() == want.tensor.dtype &&
        std::ranges::equal(manifest.tensor(*found).shape(), want.tensor.shape)) {
      continue;
    }
    return Status(Code::kInvalid,
                  "the checkpoint has " +
                      std::string(found ? "another shape or type for " : "no tensor ") +
                      want.tensor.name + "; it is of another model");
  }
  if (manifest.tensors() == wanted.size()) return {};
  return Status(Code::kInvalid, "the checkpoint has " + std::to_string(manifest.tensors()) +
                                    " tensors, this model " + std::to_string(wanted.size()));
}

}  // namespace muster
