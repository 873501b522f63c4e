#include "runtime/checkpoint/manifest.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/json_fields.h"

namespace muster::checkpoint {
namespace {

using manifest_format::BoxRow;
using manifest_format::FileRow;
using manifest_format::Header;
using manifest_format::Kind;
using manifest_format::kMagic;
using manifest_format::kSectionsMax;
using manifest_format::MemberRow;
using manifest_format::Section;
using manifest_format::TensorRow;

static_assert(std::endian::native == std::endian::little, "manifests are read as they lie");

Status Bad(const std::string& what) {
  return Status(Code::kDataLoss, "the manifest contradicts itself: " + what);
}

std::uint64_t BlocksOf(std::uint64_t size) {
  return size / kBlock + (size % kBlock != 0 ? 1 : 0);
}

Status CheckFileName(std::string_view name) {
  const bool plain =
      !name.empty() && name.size() <= 255 && name[0] != '.' &&
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127 && c != '/'; });
  return plain ? Status() : Bad("\"" + std::string(name) + "\" is no file's name");
}

}  // namespace

Result<Manifest> Manifest::Parse(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> owner) {
  CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 == 0);
  Manifest manifest;
  manifest.bytes_ = bytes;
  manifest.owner_ = std::move(owner);
  RETURN_IF_ERROR(manifest.ReadSections());
  RETURN_IF_ERROR(manifest.CheckRows());
  RETURN_IF_ERROR(manifest.CheckTensorRows());
  return manifest;
}

Result<Manifest> Manifest::Parse(std::string_view bytes) {
  const auto copy = std::make_shared<std::vector<std::uint64_t>>(bytes.size() / 8 + 1);
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  return Parse(std::as_bytes(std::span(*copy)).first(bytes.size()), copy);
}

Status Manifest::ReadSections() {
  Header header;
  if (bytes_.size() >= 1 && std::to_integer<char>(bytes_[0]) == '{') {
    return Status(Code::kUnimplemented,
                  "the manifest is JSON, of the first format; this muster reads format " +
                      std::to_string(kFormatMajor) + ": load it with the muster that wrote it");
  }
  if (bytes_.size() < sizeof header) return Status(Code::kDataLoss, "the manifest is cut");
  std::memcpy(&header, bytes_.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return Status(Code::kDataLoss, "this is no manifest of muster");
  }
  RETURN_IF_ERROR(CheckMajor(header.major));
  if (header.bytes != bytes_.size()) return Status(Code::kDataLoss, "the manifest is cut");
  if (header.block_bytes != kBlock) return Bad("its blocks are not one MiB");
  if (header.sections > kSectionsMax ||
      sizeof header + header.sections * sizeof(Section) > bytes_.size()) {
    return Bad("its table of sections is too long");
  }
  RETURN_IF_ERROR(Take(Kind::kTexts, &texts_));
  RETURN_IF_ERROR(Take(Kind::kMembers, &members_));
  RETURN_IF_ERROR(Take(Kind::kFiles, &files_));
  RETURN_IF_ERROR(Take(Kind::kCrcs, &crcs_));
  RETURN_IF_ERROR(Take(Kind::kTensors, &tensors_));
  RETURN_IF_ERROR(Take(Kind::kExtents, &extents_));
  return Take(Kind::kBoxes, &boxes_);
}

template <typename Row>
Status Manifest::Take(Kind kind, std::span<const Row>* into) const {
  const auto* header = reinterpret_cast<const Header*>(bytes_.data());
  const auto* sections = reinterpret_cast<const Section*>(bytes_.data() + sizeof *header);
  bool found = false;
  for (const Section& one : std::span(sections, header->sections)) {
    if (one.kind != static_cast<std::uint32_t>(kind)) continue;
    if (found || one.begin % 8 != 0 || one.begin > bytes_.size() ||
        one.bytes > bytes_.size() - one.begin || one.bytes % sizeof(Row) != 0) {
      return Bad("section " + std::to_string(one.kind) + " is twice there, or out of place");
    }
    found = true;
    *into = {reinterpret_cast<const Row*>(bytes_.data() + one.begin), one.bytes / sizeof(Row)};
  }
  if (found) return {};
  return Bad("section " + std::to_string(static_cast<std::uint32_t>(kind)) + " is missing");
}

Status Manifest::CheckRows() const {
  for (const MemberRow& row : members_) {
    if (!IsText(row.key, row.key_bytes) || !IsText(row.value, row.value_bytes)) {
      return Bad("a member lies outside of the texts");
    }
  }
  std::uint64_t crcs = 0;
  for (const FileRow& row : files_) {
    if (!IsText(row.name, row.name_bytes)) return Bad("a file's name lies outside of the texts");
    RETURN_IF_ERROR(CheckFileName(Text(row.name, row.name_bytes)));
    if (row.first_crc != crcs || BlocksOf(row.size) > crcs_.size() - crcs) {
      return Bad("the CRCs of " + std::string(Text(row.name, row.name_bytes)) + " are not its MiB");
    }
    crcs += BlocksOf(row.size);
  }
  if (crcs != crcs_.size()) return Bad("it has CRCs of no file");
  for (const BoxRow& row : boxes_) {
    if (row.file >= files_.size()) return Bad("a box lies in no file");
  }
  return {};
}

Status Manifest::CheckTensorRows() const {
  std::uint64_t extents = 0;
  std::uint64_t boxes = 0;
  std::string_view last;
  for (const TensorRow& row : tensors_) {
    if (!IsText(row.name, row.name_bytes)) return Bad("a tensor's name lies outside of the texts");
    const std::string_view name = Text(row.name, row.name_bytes);
    const auto bad = [&](const char* what) {
      return Bad("tensor \"" + std::string(name) + "\" " + what);
    };
    if (name <= last) return bad("is not in the order of names, or has none");
    last = name;
    if (DtypeName(row.dtype).empty()) return bad("has a dtype that this muster does not know");
    if (row.rank > kRankMax) return bad("has too many dimensions");
    if (row.first_box != boxes || row.boxes > boxes_.size() - boxes) return bad("has no boxes");
    boxes += row.boxes;
    const std::uint64_t due = row.rank * (1 + 2 * row.boxes);
    if (row.first_extent != extents || due > extents_.size() - extents) return bad("has no shape");
    extents += due;
  }
  if (boxes != boxes_.size() || extents != extents_.size()) return Bad("it has boxes of no tensor");
  return {};
}

SaveId Manifest::save() const {
  const auto* header = reinterpret_cast<const Header*>(bytes_.data());
  return {.generation = header->generation, .step = header->step, .nonce = header->nonce};
}

std::pair<std::string_view, std::string_view> Manifest::member(std::size_t i) const {
  const MemberRow& row = members_[i];
  return {Text(row.key, row.key_bytes), Text(row.value, row.value_bytes)};
}

std::string_view Manifest::Member(std::string_view key) const {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (member(i).first == key) return member(i).second;
  }
  return {};
}

ManifestFile Manifest::file(std::size_t i) const {
  const FileRow& row = files_[i];
  return {.name = Text(row.name, row.name_bytes),
          .size = row.size,
          .crcs = crcs_.subspan(row.first_crc, BlocksOf(row.size)),
          .first_block = row.first_crc};
}

ManifestTensor Manifest::tensor(std::size_t i) const {
  ManifestTensor tensor;
  tensor.row_ = &tensors_[i];
  tensor.name_ = Text(tensor.row_->name, tensor.row_->name_bytes);
  tensor.extents_ = extents_.data() + tensor.row_->first_extent;
  tensor.boxes_ = boxes_.data() + tensor.row_->first_box;
  return tensor;
}

std::optional<std::size_t> Manifest::Find(std::string_view name) const {
  std::size_t low = 0;
  std::size_t high = tensors_.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (Text(tensors_[middle].name, tensors_[middle].name_bytes) < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == tensors_.size() || tensor(low).name() != name) return std::nullopt;
  return low;
}

Status CheckTensor(const Manifest& manifest, std::size_t index) {
  const ManifestTensor tensor = manifest.tensor(index);
  RETURN_IF_ERROR(CheckTensor(tensor.name(), tensor.dtype(), tensor.shape()));
  const auto wrong = [&](const std::string& what) {
    return Status(Code::kInvalid, "tensor \"" + std::string(tensor.name()) + "\": " + what);
  };
  if (tensor.boxes() == 0) return wrong("no shard holds any of it");
  const std::uint64_t item = tensor.item_bytes();
  std::vector<Region> regions;
  regions.reserve(tensor.boxes());
  for (std::uint64_t i = 0; i < tensor.boxes(); ++i) {
    const ManifestBox box = tensor.box(i);
    if (!Inside(box.region, tensor.shape())) {
      return wrong(RegionText(box.region) + " reaches outside of the global shape " +
                   ShapeText(tensor.shape()));
    }
    const ManifestFile file = manifest.file(box.file);
    const std::uint64_t bytes = Volume(box.region.shape) * item;
    if (bytes > file.size || box.begin > file.size - bytes) {
      return Status(Code::kDataLoss, "tensor \"" + std::string(tensor.name()) +
                                         "\" lies outside of its file " + std::string(file.name));
    }
    regions.push_back(box.region);
  }
  Status cover = CheckCover(tensor.shape(), regions);
  return cover.ok() ? cover : wrong(cover.message());
}

Status CheckManifest(const Manifest& manifest) {
  for (std::size_t i = 0; i < manifest.tensors(); ++i) RETURN_IF_ERROR(CheckTensor(manifest, i));
  return {};
}

Status CheckJsonObject(const std::string& text, const std::string& what) {
  if (text.empty() ||
      nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false).is_object()) {
    return {};
  }
  return Status(Code::kInvalid, what + " must be a JSON object, or empty");
}

}  // namespace muster::checkpoint
