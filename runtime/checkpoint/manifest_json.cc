#include "runtime/checkpoint/manifest_json.h"

#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using nlohmann::ordered_json;

std::string Dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json Numbers(Extents extents) {
  ordered_json list = ordered_json::array();
  for (const std::uint64_t extent : extents) list.push_back(extent);
  return list;
}

// A member that is JSON itself is shown as that.
ordered_json MemberValue(std::string_view value) {
  ordered_json parsed = ordered_json::parse(value, nullptr, /*allow_exceptions=*/false);
  return parsed.is_object() ? parsed : ordered_json(std::string(value));
}

ordered_json FileJson(const ManifestFile& file) {
  std::string crcs;
  for (const std::uint32_t crc : file.crcs) crcs += CrcText(crc);
  return {{"name", std::string(file.name)}, {"bytes", file.size}, {"crc32c", crcs}};
}

ordered_json TensorJson(const Manifest& manifest, const ManifestTensor& tensor) {
  ordered_json boxes = ordered_json::array();
  for (std::uint64_t i = 0; i < tensor.boxes(); ++i) {
    const ManifestBox box = tensor.box(i);
    boxes.push_back({{"file", std::string(manifest.file(box.file).name)},
                     {"begin", box.begin},
                     {"offset", Numbers(box.region.offset)},
                     {"shape", Numbers(box.region.shape)}});
  }
  return {{"name", std::string(tensor.name())},
          {"dtype", std::string(tensor.dtype())},
          {"shape", Numbers(tensor.shape())},
          {"boxes", std::move(boxes)}};
}

}  // namespace

void WriteManifestJson(const Manifest& manifest, std::string_view commit, std::string_view indent,
                       const std::function<void(std::string_view)>& write) {
  std::vector<std::size_t> all(manifest.tensors());
  std::iota(all.begin(), all.end(), std::size_t{0});
  WriteManifestJson(manifest, commit, indent, all, write);
}

void WriteManifestJson(const Manifest& manifest, std::string_view commit, std::string_view indent,
                       std::span<const std::size_t> tensors,
                       const std::function<void(std::string_view)>& write) {
  const std::string line = "\n" + std::string(indent) + "  ";
  ordered_json head = {{"commit", std::string(commit)}, {"format", "muster"},
                       {"major", kFormatMajor},         {"generation", manifest.save().generation},
                       {"step", manifest.save().step},  {"nonce", NonceText(manifest.save().nonce)},
                       {"block_bytes", kBlock}};
  for (std::size_t i = 0; i < manifest.members(); ++i) {
    const auto [key, value] = manifest.member(i);
    if (!head.contains(std::string(key))) head[std::string(key)] = MemberValue(value);
  }
  write("{");
  for (const auto& [key, value] : head.items()) {
    write(line + Dump(key) + ": " + Dump(value) + ",");
  }
  const auto list = [&](const char* name, std::size_t count, const auto& item) {
    write(line + "\"" + name + "\": [");
    for (std::size_t i = 0; i < count; ++i) {
      write((i > 0 ? "," : "") + line + "  " + Dump(item(i)));
    }
    write(line + "]");
  };
  list("files", manifest.files(), [&](std::size_t i) { return FileJson(manifest.file(i)); });
  write(",");
  list("tensors", tensors.size(),
       [&](std::size_t i) { return TensorJson(manifest, manifest.tensor(tensors[i])); });
  write("\n" + std::string(indent) + "}");
}

}  // namespace muster::checkpoint
