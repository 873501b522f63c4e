// The manifest: everything that one checkpoint is, without its bytes.
//
// A file of flat tables (manifest_format.h), read as it lies: nothing is allocated per tensor or
// box, so that 100,000 tensors in 64 shards open in a fraction of a second.  Tensors are sorted by
// name.  Unknown sections and members are ignored, a newer major version is kUnimplemented.
//
// Parse proves that every accessor stays inside the bytes; CheckManifest, that the boxes of every
// tensor tile it and lie in their files: both before a commit, and, for the tensors that are
// wanted, before a load reads anything.  Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/mover.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/manifest_format.h"

namespace muster::checkpoint {

using mover::ShardReport;

struct ManifestFile {
  std::string_view name;
  std::uint64_t size = 0;
  std::span<const std::uint32_t> crcs;  // CRC-32C of each MiB.
  std::uint64_t first_block = 0;        // Counted over all files: where crcs[0] stands.
};

struct ManifestBox {
  std::uint32_t file = 0;   // Index in the files.
  std::uint64_t begin = 0;  // Of its bytes in the file.
  Region region;
};

class Manifest;

class ManifestTensor {
 public:
  std::string_view name() const { return name_; }
  std::string_view dtype() const { return DtypeName(row_->dtype); }
  std::uint64_t item_bytes() const { return ItemBytes(dtype()).value_or(0); }
  Extents shape() const { return {extents_, row_->rank}; }
  std::uint64_t boxes() const { return row_->boxes; }
  ManifestBox box(std::uint64_t i) const {
    const std::uint64_t* at = extents_ + row_->rank * (1 + 2 * i);
    return {.file = boxes_[i].file,
            .begin = boxes_[i].begin,
            .region = {.offset = {at, row_->rank}, .shape = {at + row_->rank, row_->rank}}};
  }

 private:
  friend class Manifest;
  std::string_view name_;
  const manifest_format::TensorRow* row_ = nullptr;
  const std::uint64_t* extents_ = nullptr;
  const manifest_format::BoxRow* boxes_ = nullptr;
};

// Members that every muster writes; all but the run may be empty.
inline constexpr std::string_view kMemberRun = "run";
inline constexpr std::string_view kMemberHostState = "host_state";  // Sampler, RNG, loss scale...
inline constexpr std::string_view kMemberTopology = "topology";
inline constexpr std::string_view kMemberMetadata = "metadata";  // The user's.
// CRC-32C of the three before it: what proves them as long as no commit record does (adopt.h).
inline constexpr std::string_view kMemberTextsCrc = "texts_crc32c";

// A view of bytes that somebody owns; cheap to copy.
class Manifest {
 public:
  // `bytes` begin at a multiple of 8 and stay as they are while `owner` lives.
  static Result<Manifest> Parse(std::span<const std::byte> bytes,
                                std::shared_ptr<const void> owner);
  static Result<Manifest> Parse(std::string_view bytes);  // Copies.

  std::span<const std::byte> bytes() const { return bytes_; }
  SaveId save() const;
  // The text of a member; empty when it has none.
  std::string_view Member(std::string_view key) const;
  std::string_view run() const { return Member(kMemberRun); }
  std::size_t members() const { return members_.size(); }
  std::pair<std::string_view, std::string_view> member(std::size_t i) const;

  std::size_t files() const { return files_.size(); }
  ManifestFile file(std::size_t i) const;
  std::uint64_t blocks() const { return crcs_.size(); }  // Of all files.
  std::size_t tensors() const { return tensors_.size(); }
  ManifestTensor tensor(std::size_t i) const;
  std::optional<std::size_t> Find(std::string_view name) const;

 private:
  Manifest() = default;
  Status ReadSections();
  Status CheckRows() const;
  Status CheckTensorRows() const;
  template <typename Row>
  Status Take(manifest_format::Kind kind, std::span<const Row>* into) const;
  bool IsText(std::uint64_t begin, std::uint64_t bytes) const {
    return begin <= texts_.size() && bytes <= texts_.size() - begin;
  }
  std::string_view Text(std::uint64_t begin, std::uint64_t bytes) const {
    return {texts_.data() + begin, bytes};
  }

  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::span<const char> texts_;
  std::span<const manifest_format::MemberRow> members_;
  std::span<const manifest_format::FileRow> files_;
  std::span<const std::uint32_t> crcs_;
  std::span<const manifest_format::TensorRow> tensors_;
  std::span<const std::uint64_t> extents_;
  std::span<const manifest_format::BoxRow> boxes_;
};

// The error names the tensor: a bad name, dtype or shape, a box outside of its file or tensor, two
// that overlap, or one that is missing.
Status CheckTensor(const Manifest& manifest, std::size_t tensor);
Status CheckManifest(const Manifest& manifest);

// Empty or a JSON object; `what` names it in the error.
Status CheckJsonObject(const std::string& text, const std::string& what);

}  // namespace muster::checkpoint
