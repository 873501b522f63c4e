#include "runtime/checkpoint/manifest_builder.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <unordered_map>

#include "runtime/base/text.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using manifest_format::Header;
using manifest_format::Kind;
using manifest_format::Section;

constexpr std::uint64_t Aligned(std::uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

Status CheckReports(const SaveId& save, std::uint32_t nodes,
                    const std::vector<ShardReport>& reports) {
  std::vector<std::string> missing;
  for (std::uint32_t node = 0; node < nodes; ++node) {
    const auto from = [&](const ShardReport& r) { return r.node == node && r.nodes == nodes; };
    if (std::count_if(reports.begin(), reports.end(), from) != 1) {
      missing.push_back(std::to_string(node));
    }
  }
  if (nodes == 0 || !missing.empty() || reports.size() != nodes) {
    return Status(Code::kInvalid, "step " + std::to_string(save.step) + ": " +
                                      std::to_string(reports.size()) + " shard reports for " +
                                      std::to_string(nodes) + " nodes; not exactly one from node " +
                                      Join(missing, " "));
  }
  for (const ShardReport& report : reports) {
    const bool sound = report.file == ShardName(report.node, nodes) &&
                       report.begins.size() == report.tensors.size() &&
                       report.crcs.size() == (report.size + kBlock - 1) / kBlock;
    if (!sound) {
      return Status(Code::kInvalid, "the report of " + report.file + " contradicts itself");
    }
    for (const StagedTensor& box : report.tensors) RETURN_IF_ERROR(CheckBox(box));
  }
  return {};
}

// All boxes of the reports, by name of the tensor, then by node.
struct Place {
  std::uint32_t report = 0, tensor = 0;
};

std::vector<Place> SortedByName(const std::vector<const ShardReport*>& reports) {
  std::unordered_map<std::string_view, std::uint32_t>
      known;  // Hashing once is cheaper than sorting.
  std::vector<std::string_view> names;
  std::vector<std::uint32_t> of_box;
  std::vector<Place> places;
  for (std::uint32_t r = 0; r < reports.size(); ++r) {
    for (std::uint32_t t = 0; t < reports[r]->tensors.size(); ++t) {
      const auto [at, fresh] = known.emplace(reports[r]->tensors[t].name, names.size());
      if (fresh) names.push_back(at->first);
      of_box.push_back(at->second);
      places.push_back({.report = r, .tensor = t});
    }
  }
  std::vector<std::uint32_t> order(names.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return names[a] < names[b]; });
  std::vector<std::size_t> next(names.size() + 1, 0);  // Where each name's boxes go.
  std::vector<std::uint32_t> rank(names.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  for (const std::uint32_t name : of_box) ++next[rank[name] + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  std::vector<Place> sorted(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) sorted[next[rank[of_box[i]]]++] = places[i];
  return sorted;
}

}  // namespace

std::uint64_t ManifestBuilder::AddText(std::string_view text) {
  const std::uint64_t at = texts_.size();
  texts_ += text;
  return at;
}

void ManifestBuilder::AddMember(std::string_view key, std::string_view value) {
  const std::uint64_t at = AddText(key);
  members_.push_back(
      {.key = at, .value = AddText(value), .key_bytes = key.size(), .value_bytes = value.size()});
}

void ManifestBuilder::AddFile(std::string_view name, std::uint64_t size,
                              std::span<const std::uint32_t> crcs) {
  files_.push_back(
      {.name = AddText(name), .name_bytes = name.size(), .size = size, .first_crc = crcs_.size()});
  crcs_.insert(crcs_.end(), crcs.begin(), crcs.end());
}

void ManifestBuilder::AddTensor(std::string_view name, std::string_view dtype, Extents shape) {
  tensors_.push_back({.name = AddText(name),
                      .name_bytes = static_cast<std::uint32_t>(name.size()),
                      .dtype = DtypeCode(dtype).value_or(UINT8_MAX),
                      .rank = static_cast<std::uint8_t>(shape.size()),
                      .reserved = 0,
                      .first_extent = extents_.size(),
                      .first_box = boxes_.size(),
                      .boxes = 0});
  extents_.insert(extents_.end(), shape.begin(), shape.end());
}

void ManifestBuilder::AddBox(const ManifestBox& box) {
  boxes_.push_back({.begin = box.begin, .file = box.file, .reserved = 0});
  extents_.insert(extents_.end(), box.region.offset.begin(), box.region.offset.end());
  extents_.insert(extents_.end(), box.region.shape.begin(), box.region.shape.end());
  ++tensors_.back().boxes;
}

Result<Manifest> ManifestBuilder::Finish() const {
  const std::pair<Kind, std::span<const std::byte>> parts[] = {
      {Kind::kTexts, std::as_bytes(std::span(texts_))},
      {Kind::kMembers, std::as_bytes(std::span(members_))},
      {Kind::kFiles, std::as_bytes(std::span(files_))},
      {Kind::kCrcs, std::as_bytes(std::span(crcs_))},
      {Kind::kTensors, std::as_bytes(std::span(tensors_))},
      {Kind::kExtents, std::as_bytes(std::span(extents_))},
      {Kind::kBoxes, std::as_bytes(std::span(boxes_))}};
  Header header{.major = kFormatMajor,
                .minor = kFormatMinor,
                .sections = std::size(parts),
                .generation = save_.generation,
                .step = save_.step,
                .nonce = save_.nonce,
                .block_bytes = kBlock};
  std::memcpy(header.magic, manifest_format::kMagic, sizeof header.magic);
  std::vector<Section> sections;
  std::uint64_t at = sizeof header + std::size(parts) * sizeof(Section);
  for (const auto& [kind, part] : parts) {
    sections.push_back({.kind = static_cast<std::uint32_t>(kind),
                        .reserved = 0,
                        .begin = at,
                        .bytes = part.size()});
    at = Aligned(at + part.size());
  }
  header.bytes = at;
  const auto words = std::make_shared<std::vector<std::uint64_t>>(at / 8);
  auto* bytes = reinterpret_cast<std::byte*>(words->data());
  std::memcpy(bytes, &header, sizeof header);
  std::memcpy(bytes + sizeof header, sections.data(), sections.size() * sizeof(Section));
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const auto part = parts[i].second;
    if (!part.empty()) std::memcpy(bytes + sections[i].begin, part.data(), part.size());
  }
  return Manifest::Parse(std::span<const std::byte>(bytes, at), words);
}

std::string CrcOf(const ManifestTexts& texts) {
  return CrcText(Crc32c(texts.host_state + '\0' + texts.topology + '\0' + texts.metadata));
}

Result<Manifest> BuildManifest(const std::string& run, const SaveId& save, std::uint32_t nodes,
                               const std::vector<ShardReport>& reports,
                               const ManifestTexts& texts) {
  RETURN_IF_ERROR(CheckReports(save, nodes, reports));
  ManifestBuilder builder(save);
  builder.AddMember(kMemberRun, run);
  builder.AddMember(kMemberHostState, texts.host_state);
  builder.AddMember(kMemberTopology, texts.topology);
  builder.AddMember(kMemberMetadata, texts.metadata);
  builder.AddMember(kMemberTextsCrc, CrcOf(texts));
  std::vector<const ShardReport*> by_node(nodes);
  for (const ShardReport& report : reports) by_node[report.node] = &report;
  for (const ShardReport* report : by_node) {
    builder.AddFile(report->file, report->size, report->crcs);
  }
  const StagedTensor* last = nullptr;
  for (const Place& place : SortedByName(by_node)) {
    const ShardReport& report = *by_node[place.report];
    const StagedTensor& box = report.tensors[place.tensor];
    if (last == nullptr || last->name != box.name) {
      builder.AddTensor(box.name, box.dtype, box.global_shape);
      last = &box;
    } else if (last->dtype != box.dtype || last->global_shape != box.global_shape) {
      return CheckTiling(std::vector{*last, box});
    }
    builder.AddBox({.file = report.node,
                    .begin = report.begins[place.tensor],
                    .region = {.offset = box.offset, .shape = box.shape}});
  }
  auto manifest = builder.Finish();
  if (manifest.ok()) RETURN_IF_ERROR(CheckManifest(*manifest));
  return manifest;
}

}  // namespace muster::checkpoint
