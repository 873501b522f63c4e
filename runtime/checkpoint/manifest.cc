#include "runtime/checkpoint/manifest.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/text.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using nlohmann::json;

std::string FormatCrcs(const std::vector<std::uint32_t>& crcs) {
  std::string text;
  for (const std::uint32_t crc : crcs) text += CrcText(crc);
  return text;
}

std::vector<std::uint32_t> ParseCrcs(JsonFields& fields, const char* key) {
  const auto bytes = FromHex(fields.Text(key));
  if (!bytes.has_value() || bytes->size() % 4 != 0) {
    fields.Fail(std::string("\"") + key + "\" is not made of 8 hexadecimal digits a MiB");
    return {};
  }
  std::vector<std::uint32_t> crcs;
  for (std::size_t i = 0; i < bytes->size(); i += 4) {
    std::uint32_t crc = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      crc = crc << 8U | std::to_integer<std::uint32_t>((*bytes)[i + k]);
    }
    crcs.push_back(crc);
  }
  return crcs;
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
    if (report.file == ShardName(report.node, nodes) &&
        report.begins.size() == report.tensors.size()) {
      continue;
    }
    return Status(Code::kInvalid, "the report of " + report.file + " contradicts itself");
  }
  return {};
}

Status CheckFile(const ManifestFile& file) {
  if (file.name.empty() || file.name.find('/') != std::string::npos || file.name[0] == '.') {
    return Status(Code::kDataLoss, "\"" + file.name + "\" is not the name of a shard");
  }
  if (file.crcs.size() != (file.size + kBlock - 1) / kBlock) {
    return Status(Code::kDataLoss, file.name + " has " + std::to_string(file.size) +
                                       " bytes but CRCs of " + std::to_string(file.crcs.size()) +
                                       " MiB");
  }
  return {};
}

json TensorJson(const ManifestTensor& tensor) {
  json boxes = json::array();
  for (const ManifestBox& box : tensor.boxes) {
    boxes.push_back(
        {{"file", box.file}, {"begin", box.begin}, {"offset", box.offset}, {"shape", box.shape}});
  }
  return {{"name", tensor.name},
          {"dtype", tensor.dtype},
          {"shape", tensor.shape},
          {"boxes", std::move(boxes)}};
}

ManifestTensor ParseTensor(const json& object, JsonFields& all) {
  JsonFields fields(object);
  ManifestTensor tensor{
      .name = fields.Text("name"), .dtype = fields.Text("dtype"), .shape = fields.Numbers("shape")};
  for (const json& item : fields.List("boxes")) {
    JsonFields box(item);
    tensor.boxes.push_back({.file = box.Small("file"),
                            .begin = box.Number("begin"),
                            .offset = box.Numbers("offset"),
                            .shape = box.Numbers("shape")});
    fields.Take(box.status());
  }
  all.Take(fields.status());
  return tensor;
}

}  // namespace

StagedTensor BoxOf(const ManifestTensor& tensor, const ManifestBox& box) {
  return {.name = tensor.name,
          .dtype = tensor.dtype,
          .global_shape = tensor.shape,
          .offset = box.offset,
          .shape = box.shape};
}

Status CheckJsonObject(const std::string& text, const std::string& what) {
  if (text.empty() || json::parse(text, nullptr, /*allow_exceptions=*/false).is_object()) return {};
  return Status(Code::kInvalid, what + " must be a JSON object, or empty");
}

Result<Manifest> BuildManifest(const std::string& run, const SaveId& save, std::uint32_t nodes,
                               std::vector<ShardReport> reports) {
  RETURN_IF_ERROR(CheckReports(save, nodes, reports));
  std::sort(reports.begin(), reports.end(),
            [](const ShardReport& a, const ShardReport& b) { return a.node < b.node; });
  Manifest manifest{.run = run, .save = save};
  std::map<std::string, std::size_t> known;
  for (const ShardReport& report : reports) {
    for (std::size_t i = 0; i < report.tensors.size(); ++i) {
      const StagedTensor& box = report.tensors[i];
      const auto [at, fresh] = known.emplace(box.name, manifest.tensors.size());
      if (fresh) {
        manifest.tensors.push_back(
            {.name = box.name, .dtype = box.dtype, .shape = box.global_shape});
      }
      ManifestTensor& tensor = manifest.tensors[at->second];
      if (tensor.dtype != box.dtype || tensor.shape != box.global_shape) {
        return CheckTiling(std::vector{BoxOf(tensor, tensor.boxes.front()), box});
      }
      tensor.boxes.push_back({.file = report.node,
                              .begin = report.begins[i],
                              .offset = box.offset,
                              .shape = box.shape});
    }
    manifest.files.push_back({.name = report.file, .size = report.size, .crcs = report.crcs});
  }
  RETURN_IF_ERROR(CheckManifest(manifest));
  return manifest;
}

Status CheckManifest(const Manifest& manifest) {
  for (const ManifestFile& file : manifest.files) RETURN_IF_ERROR(CheckFile(file));
  for (const ManifestTensor& tensor : manifest.tensors) {
    if (tensor.boxes.empty()) {
      return Status(Code::kInvalid, "tensor \"" + tensor.name + "\": no shard holds any of it");
    }
    std::vector<StagedTensor> boxes;
    for (const ManifestBox& box : tensor.boxes) boxes.push_back(BoxOf(tensor, box));
    RETURN_IF_ERROR(CheckTiling(boxes));
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      const ManifestBox& box = tensor.boxes[i];
      const std::uint64_t bytes = BoxBytes(boxes[i]);
      if (box.file < manifest.files.size() && bytes <= manifest.files[box.file].size &&
          box.begin <= manifest.files[box.file].size - bytes) {
        continue;
      }
      return Status(Code::kDataLoss, "tensor \"" + tensor.name + "\" lies outside of its file");
    }
  }
  return {};
}

std::string FormatManifest(const Manifest& manifest) {
  json files = json::array();
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"size", file.size}, {"crc32c", FormatCrcs(file.crcs)}});
  }
  json tensors = json::array();
  for (const ManifestTensor& tensor : manifest.tensors) tensors.push_back(TensorJson(tensor));
  const json object = {{"format", "muster"},
                       {"major", kFormatMajor},
                       {"minor", kFormatMinor},
                       {"run", manifest.run},
                       {"generation", manifest.save.generation},
                       {"step", manifest.save.step},
                       {"nonce", NonceText(manifest.save.nonce)},
                       {"block_bytes", kBlock},
                       {"host_state", manifest.host_state},
                       {"topology", manifest.topology},
                       {"files", std::move(files)},
                       {"tensors", std::move(tensors)}};
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Manifest> ParseManifest(const std::string& text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return Status(Code::kDataLoss, "the manifest is not JSON");
  JsonFields fields(object);
  fields.CheckFormat();
  if (fields.Number("block_bytes") != kBlock) fields.Fail("\"block_bytes\" is not one MiB");
  const auto nonce = ParseNonce(fields.Text("nonce"));
  if (!nonce.has_value()) fields.Fail("\"nonce\" is not 16 hexadecimal digits");
  Manifest manifest{.run = fields.Text("run"),
                    .save = {.generation = fields.Number("generation"),
                             .step = fields.Number("step"),
                             .nonce = nonce.value_or(0)},
                    .host_state = fields.Text("host_state"),
                    .topology = fields.Text("topology")};
  for (const json& item : fields.List("files")) {
    JsonFields file(item);
    manifest.files.push_back({.name = file.Text("name"),
                              .size = file.Number("size"),
                              .crcs = ParseCrcs(file, "crc32c")});
    fields.Take(file.status());
  }
  for (const json& item : fields.List("tensors")) {
    manifest.tensors.push_back(ParseTensor(item, fields));
  }
  if (!fields.status().ok()) return fields.status();
  return manifest;
}

}  // namespace muster::checkpoint
