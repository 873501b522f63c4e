// Writes tensors of a checkpoint, whole, as one folder in the style of Hugging Face:
// model-00001-of-0000N.safetensors and model.safetensors.index.json, which comes last: with it the
// folder is complete.
//
// Every byte is checked against its CRC on the way.  Takes memory of a few hundred MiB, and of its
// largest tensor.  One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct ExportOrder {
  std::string run;
  CommitId commit;
  std::vector<std::string> patterns;              // Of the tensors' names; none: all.
  std::uint64_t shard_bytes_max = 5'000'000'000;  // Of tensors; one that is larger has its own.
  std::function<void(std::uint64_t bytes, std::uint64_t of)> progress;
};

struct Exported {
  std::uint64_t bytes = 0;  // Of the tensors.
  std::size_t tensors = 0;
  std::vector<std::string> files;
};

// `into` holds nothing yet.
Result<Exported> Export(Store& store, const ExportOrder& order, Store& into);

}  // namespace muster::checkpoint
