#include "runtime/checkpoint/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using nlohmann::json;

constexpr std::uint64_t kHeaderMax = 100'000'000;
constexpr int kDepthMax = 8;

Status Bad(const std::string& what) {
  return Status(Code::kDataLoss, "safetensors: " + what);
}

// JSON whose objects name each member once and lie in each other only a few times: a parser that
// keeps the last of two members of a name would read another file than the next one.
Result<json> StrictJson(std::string_view text) {
  std::vector<std::vector<std::string>> open;
  bool deep = false;
  bool twice = false;
  const json::parser_callback_t look = [&](int depth, json::parse_event_t event, json& parsed) {
    deep = deep || depth > kDepthMax;
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::key) open.back().push_back(parsed.get<std::string>());
    if (event == json::parse_event_t::object_end) {
      std::vector<std::string>& keys = open.back();
      std::sort(keys.begin(), keys.end());
      twice = twice || std::adjacent_find(keys.begin(), keys.end()) != keys.end();
      open.pop_back();
    }
    return !deep;
  };
  json object = json::parse(text, look, /*allow_exceptions=*/false);
  if (deep) return Bad("the header's objects lie too deep in each other");
  if (object.is_discarded() || !object.is_object()) return Bad("the header is no JSON object");
  if (twice) return Bad("the header names something twice");
  return object;
}

Result<HeaderTensor> ParseTensor(const std::string& name, const json& object) {
  JsonFields fields(object);
  HeaderTensor tensor{
      .name = name, .dtype = fields.Text("dtype"), .shape = fields.Numbers("shape")};
  const std::vector<std::uint64_t> offsets = fields.Numbers("data_offsets");
  if (!fields.status().ok()) return fields.status();
  if (const Status sound = CheckTensor(name, tensor.dtype, tensor.shape); !sound.ok()) {
    return Bad(sound.message());
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return Bad("tensor \"" + name + "\": its data_offsets are not two, in order");
  }
  tensor.begin = offsets[0];
  tensor.end = offsets[1];
  if (tensor.end - tensor.begin != Volume(tensor.shape) * *ItemBytes(tensor.dtype)) {
    return Bad("tensor \"" + name + "\": its data_offsets do not fit its shape");
  }
  return tensor;
}

Status ParseMetadata(const json& object, std::map<std::string, std::string>& into) {
  if (!object.is_object()) return Bad("__metadata__ is no object");
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) return Bad("__metadata__ holds something that is not a text");
    into[key] = value.get<std::string>();
  }
  return {};
}

}  // namespace

Result<std::uint64_t> ShardHeaderBytes(std::string_view first_bytes) {
  if (first_bytes.size() < 8) return Bad("the file is shorter than a header's length");
  std::uint64_t length = 0;
  std::memcpy(&length, first_bytes.data(), 8);
  if (length <= kHeaderMax) return 8 + length;
  return Bad("a header of " + std::to_string(length) + " bytes, more than readers accept");
}

Result<ShardHeader> ParseShardHeader(std::string_view bytes, std::uint64_t file_size) {
  const auto length = ShardHeaderBytes(bytes);
  if (!length.ok()) return length.status();
  if (*length > bytes.size() || *length > file_size) return Bad("the file ends in its header");
  const auto object = StrictJson(bytes.substr(8, *length - 8));
  if (!object.ok()) return object.status();
  ShardHeader header{.bytes = *length};
  for (const auto& [name, value] : object->items()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(ParseMetadata(value, header.metadata));
      continue;
    }
    auto tensor = ParseTensor(name, value);
    if (!tensor.ok()) return std::move(tensor).status();
    header.tensors.push_back(*std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t at = 0;
  for (HeaderTensor& tensor : header.tensors) {
    if (tensor.begin != at) {
      return Bad("tensor \"" + tensor.name + "\": there is a hole or an overlap before it");
    }
    at = tensor.end;
    tensor.begin += header.bytes;
    tensor.end += header.bytes;
  }
  if (at == file_size - header.bytes) return header;
  return Bad("the data end at byte " + std::to_string(header.bytes + at) + ", the file at " +
             std::to_string(file_size));
}

}  // namespace muster::checkpoint
