// The manifest: everything that one checkpoint is, without its bytes.  JSON, for people and for us.
//
// Built from the shards' reports; proven whole (every tensor's boxes tile it, every box lies in its
// file) both before it is committed and before it is loaded.  Unknown members are ignored, a newer
// major version is kUnimplemented.  Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/mover.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/layout.h"

namespace muster::checkpoint {

using mover::ShardReport;

struct ManifestFile {
  std::string name;
  std::uint64_t size = 0;
  std::vector<std::uint32_t> crcs;  // CRC-32C of each MiB.
  bool operator==(const ManifestFile&) const = default;
};

struct ManifestBox {
  std::uint32_t file = 0;   // Index in the files.
  std::uint64_t begin = 0;  // Of its bytes in the file.
  std::vector<std::uint64_t> offset, shape;
  bool operator==(const ManifestBox&) const = default;
};

struct ManifestTensor {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  std::vector<ManifestBox> boxes;
  bool operator==(const ManifestTensor&) const = default;
};

struct Manifest {
  std::string run;
  SaveId save;
  std::string host_state;  // JSON objects as they were given, or empty.
  std::string topology;
  std::vector<ManifestFile> files;      // By node.
  std::vector<ManifestTensor> tensors;  // In the order in which the writers named them.
  bool operator==(const Manifest&) const = default;
};

// Reports of nodes 0 to nodes - 1, each once, in any order.
Result<Manifest> BuildManifest(const std::string& run, const SaveId& save, std::uint32_t nodes,
                               std::vector<ShardReport> reports);

Status CheckManifest(const Manifest& manifest);

// A box as the rest of the engine knows it.
StagedTensor BoxOf(const ManifestTensor& tensor, const ManifestBox& box);

// Empty or a JSON object; `what` names it in the error.
Status CheckJsonObject(const std::string& text, const std::string& what);

std::string FormatManifest(const Manifest& manifest);
Result<Manifest> ParseManifest(const std::string& text);

}  // namespace muster::checkpoint
