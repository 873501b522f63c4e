// The bytes of a manifest: a header, a table of sections, and the sections.
//
// Little endian; every section begins at a multiple of 8 and is an array of one of these rows.
// Places of texts are offsets in the section kTexts.  Kinds that a reader does not know are
// skipped: a later minor version may add some.  Nothing here has a checksum: the commit record
// holds that of the whole file.
#pragma once

#include <cstdint>

namespace muster::checkpoint::manifest_format {

inline constexpr char kMagic[8] = {'M', 'U', 'S', 'T', 'E', 'R', 'C', 'K'};
inline constexpr std::uint32_t kSectionsMax = 64;

struct Header {
  char magic[8];
  std::uint16_t major, minor;
  std::uint32_t sections;
  std::uint64_t bytes;  // Of the whole file.
  std::uint64_t generation, step, nonce;
  std::uint64_t block_bytes;
};

enum class Kind : std::uint32_t {
  kTexts = 1,
  kMembers = 2,
  kFiles = 3,
  kCrcs = 4,  // std::uint32_t: CRC-32C of each MiB, file by file.
  kTensors = 5,
  kExtents = 6,  // std::uint64_t: a tensor's shape, then offset and shape of each of its boxes.
  kBoxes = 7,    // Tensor by tensor.
};
inline constexpr std::uint32_t kKinds = 7;

struct Section {
  std::uint32_t kind, reserved;
  std::uint64_t begin, bytes;
};

struct MemberRow {
  std::uint64_t key, value, key_bytes, value_bytes;
};

struct FileRow {
  std::uint64_t name, name_bytes, size, first_crc;
};

struct TensorRow {
  std::uint64_t name;
  std::uint32_t name_bytes;
  std::uint8_t dtype;  // DtypeName of box.h.
  std::uint8_t rank;
  std::uint16_t reserved;
  std::uint64_t first_extent, first_box, boxes;
};

struct BoxRow {
  std::uint64_t begin;
  std::uint32_t file, reserved;
};

static_assert(sizeof(Header) == 56 && sizeof(Section) == 24 && sizeof(MemberRow) == 32);
static_assert(sizeof(FileRow) == 32 && sizeof(TensorRow) == 40 && sizeof(BoxRow) == 16);

}  // namespace muster::checkpoint::manifest_format
