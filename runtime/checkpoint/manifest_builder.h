// Makes the bytes of a manifest, table by table: from the shards' reports, or box by box.
//
// Pure; one thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/manifest.h"

namespace muster::checkpoint {

class ManifestBuilder {
 public:
  explicit ManifestBuilder(const SaveId& save) : save_(save) {}

  void AddMember(std::string_view key, std::string_view value);
  void AddFile(std::string_view name, std::uint64_t size, std::span<const std::uint32_t> crcs);
  // In the order of names, each followed by its boxes.  A dtype that no reader knows is an error of
  // Finish.
  void AddTensor(std::string_view name, std::string_view dtype, Extents shape);
  void AddBox(const ManifestBox& box);
  Result<Manifest> Finish() const;

 private:
  std::uint64_t AddText(std::string_view text);

  const SaveId save_;
  std::string texts_;
  std::vector<manifest_format::MemberRow> members_;
  std::vector<manifest_format::FileRow> files_;
  std::vector<std::uint32_t> crcs_;
  std::vector<manifest_format::TensorRow> tensors_;
  std::vector<std::uint64_t> extents_;
  std::vector<manifest_format::BoxRow> boxes_;
};

// What a manifest says beside files and tensors: JSON objects, or empty.
struct ManifestTexts {
  std::string host_state, topology, metadata;
};
std::string CrcOf(const ManifestTexts& texts);

// Reports of nodes 0 to nodes - 1, each once, in any order.  Proven whole.
Result<Manifest> BuildManifest(const std::string& run, const SaveId& save, std::uint32_t nodes,
                               const std::vector<ShardReport>& reports,
                               const ManifestTexts& texts = {});

}  // namespace muster::checkpoint
