#include "runtime/checkpoint/adopt.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/parts.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace muster::checkpoint {
namespace {

using nlohmann::json;

constexpr std::uint64_t kManifestMax = std::uint64_t{1} << 32U;
constexpr std::uint64_t kSlice = 8 * kBlock;

struct FoundShard {
  std::uint64_t size = 0;
  std::vector<std::uint32_t> crcs;
  ShardHeader header;
};

// All of the file, as it is.
Result<FoundShard> ReadShard(Store& store, const std::string& path) {
  const auto size = store.Size(path);
  if (!size.ok()) return size.status();
  FoundShard found{.size = *size};
  std::string header;
  std::vector<std::byte> slice;
  for (std::uint64_t at = 0; at < *size; at += slice.size()) {
    slice.resize(std::min(kSlice, *size - at));
    const auto read = store.Read(path, at, slice);
    if (!read.ok()) return read.status();
    if (*read != slice.size()) return Status(Code::kDataLoss, "the file became shorter");
    const std::span<const std::byte> bytes(slice);
    for (std::size_t from = 0; from < bytes.size(); from += kBlock) {
      found.crcs.push_back(Crc32c(bytes.subspan(from, std::min(kBlock, bytes.size() - from))));
    }
    const std::string_view text(reinterpret_cast<const char*>(slice.data()), slice.size());
    if (at == 0) header = text;
    if (at == 0) continue;
    const auto due = ShardHeaderBytes(header);
    if (due.ok() && header.size() < *due) header += text;
  }
  auto parsed = ParseShardHeader(header, *size);
  if (!parsed.ok()) return std::move(parsed).status();
  found.header = *std::move(parsed);
  return found;
}

// The report that the shard's writer has made about it.
Result<ShardReport> ReportOf(const std::string& file, std::uint32_t node, std::uint32_t nodes,
                             const SaveId& save, FoundShard found) {
  const auto meta = [&](const char* key) { return found.header.metadata[key]; };
  if (meta("muster.generation") != std::to_string(save.generation) ||
      meta("muster.step") != std::to_string(save.step) || meta("muster.file") != file) {
    return Status(Code::kDataLoss, "its header says that it belongs to another save or file");
  }
  const json shards = json::parse(meta("muster.shards"), nullptr, /*allow_exceptions=*/false);
  ShardReport report{.node = node,
                     .nodes = nodes,
                     .file = file,
                     .size = found.size,
                     .crcs = std::move(found.crcs)};
  for (const HeaderTensor& tensor : found.header.tensors) {
    if (!shards.is_object() || !shards.contains(tensor.name)) {
      return Status(Code::kDataLoss, "muster.shards does not place \"" + tensor.name + "\"");
    }
    JsonFields fields(shards[tensor.name]);
    report.tensors.push_back({.name = fields.Text("name"),
                              .dtype = tensor.dtype,
                              .global_shape = fields.Numbers("global_shape"),
                              .offset = fields.Numbers("offset"),
                              .shape = tensor.shape});
    report.begins.push_back(tensor.begin);
    if (!fields.status().ok()) return fields.status();
    RETURN_IF_ERROR(CheckBox(report.tensors.back()));
  }
  return report;
}

Result<Manifest> ReadUnproven(Store& store, const std::string& path) {
  const auto bytes = ReadWhole(store, path, kManifestMax);
  if (!bytes.ok()) return bytes.status();
  auto manifest = Manifest::Parse(*bytes);
  if (!manifest.ok()) return std::move(manifest).status().While(path);
  return manifest;
}

// As its committer would have made it, of what the nodes left in the folder when their job ended.
Result<Manifest> ManifestOfParts(Store& store, const AdoptOrder& order, const std::string& path) {
  const auto parts = FindSave(store, order.run, order.save);
  if (!parts.ok()) return parts.status();
  std::vector<ShardReport> reports;
  for (const mover::Part& part : *parts) reports.push_back(part.report);
  if (reports.empty() || reports.size() != reports.front().nodes) {
    return Status(Code::kDataLoss,
                  path + " is missing: the save ended before its sampler and RNG were written" +
                      (reports.empty() ? ""
                                       : ", by " + std::to_string(reports.size()) + " of its " +
                                             std::to_string(reports.front().nodes) + " nodes"));
  }
  const mover::Part& first = parts->front();
  return BuildManifest(
      order.run, order.save, first.report.nodes, reports,
      {.host_state = first.host_state, .topology = first.topology, .metadata = first.metadata});
}

// What a manifest says beside its texts, box by box: boxes of one tensor may stand in any order.
Status Compare(const Manifest& found, const Manifest& due) {
  const auto differ = [](const std::string& what) {
    return Status(Code::kDataLoss, "the manifest and the shards differ: " + what);
  };
  if (found.files() != due.files() || found.tensors() != due.tensors()) {
    return differ(std::to_string(found.tensors()) + " tensors in " + std::to_string(found.files()) +
                  " files against " + std::to_string(due.tensors()) + " in " +
                  std::to_string(due.files()));
  }
  for (std::size_t i = 0; i < due.files(); ++i) {
    const ManifestFile a = found.file(i);
    const ManifestFile b = due.file(i);
    if (a.name != b.name || a.size != b.size) return differ(std::string(b.name));
    const auto at = std::mismatch(a.crcs.begin(), a.crcs.end(), b.crcs.begin(), b.crcs.end());
    if (at.first == a.crcs.end() && at.second == b.crcs.end()) continue;
    return differ(std::string(b.name) + " at MiB " + std::to_string(at.first - a.crcs.begin()));
  }
  const auto boxes = [](const ManifestTensor& tensor) {
    std::vector<std::pair<std::uint32_t, std::string>> all;
    for (std::uint64_t b = 0; b < tensor.boxes(); ++b) {
      const ManifestBox box = tensor.box(b);
      all.emplace_back(box.file, std::to_string(box.begin) + " " + RegionText(box.region));
    }
    std::sort(all.begin(), all.end());
    return all;
  };
  for (std::size_t i = 0; i < due.tensors(); ++i) {
    const ManifestTensor a = found.tensor(i);
    const ManifestTensor b = due.tensor(i);
    if (a.name() != b.name() || a.dtype() != b.dtype() ||
        !std::equal(a.shape().begin(), a.shape().end(), b.shape().begin(), b.shape().end()) ||
        boxes(a) != boxes(b)) {
      return differ("tensor \"" + std::string(b.name()) + "\"");
    }
  }
  return {};
}

// The bytes of the manifest, once all is proven.
Result<Manifest> Prove(Store& store, const AdoptOrder& order) {
  const std::string folder = FolderOf(order.run, order.save);
  auto manifest = ReadUnproven(store, folder + "/" + kManifestName);
  if (manifest.status().code() == Code::kNotFound) {
    manifest = ManifestOfParts(store, order, folder + "/" + kManifestName);
  }
  if (!manifest.ok()) return manifest.status();
  const ManifestTexts texts{.host_state = std::string(manifest->Member(kMemberHostState)),
                            .topology = std::string(manifest->Member(kMemberTopology)),
                            .metadata = std::string(manifest->Member(kMemberMetadata))};
  if (manifest->run() != order.run || manifest->save() != order.save ||
      manifest->Member(kMemberTextsCrc) != CrcOf(texts)) {
    return Status(Code::kDataLoss,
                  "the manifest's run, step, sampler, RNG and metadata do not hold");
  }
  const auto nodes = static_cast<std::uint32_t>(manifest->files());
  std::vector<ShardReport> reports;
  std::uint64_t bytes = 0;
  for (std::uint32_t node = 0; node < nodes; ++node) {
    const std::string file = ShardName(node, nodes);
    auto found = ReadShard(store, folder + "/" + file);
    if (!found.ok()) return std::move(found).status().While(folder + "/" + file);
    bytes += found->size;
    auto report = ReportOf(file, node, nodes, order.save, *std::move(found));
    if (!report.ok()) return std::move(report).status().While(folder + "/" + file);
    reports.push_back(*std::move(report));
    if (order.progress) order.progress(bytes);
  }
  const auto due = BuildManifest(order.run, order.save, nodes, reports, texts);
  if (!due.ok()) return Status(Code::kDataLoss, due.status().message());
  RETURN_IF_ERROR(Compare(*manifest, *due));
  return manifest;
}

Status Fence(Store& store, const AdoptOrder& order) {
  const auto highest = HighestClaim(store, order.run);
  if (!highest.ok()) return highest.status();
  if (*highest > order.save.generation) return {};
  return Claim(store, order.run, order.nonce, order.now_ms).status();
}

}  // namespace

Result<CommitRecord> Adopt(Store& store, const AdoptOrder& order) {
  RETURN_IF_ERROR(CheckRunName(order.run));
  const auto manifest = Prove(store, order);
  if (!manifest.ok()) return manifest.status();
  RETURN_IF_ERROR(Fence(store, order));
  return PublishProven(store, *manifest, order.now_ms);
}

}  // namespace muster::checkpoint
