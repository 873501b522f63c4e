// What has to be read of a checkpoint so that some boxes of its tensors can be filled, whatever
// boxes were saved: any world size and mesh from any other.
//
// 1. Prove, from the manifest alone, that every wanted box is held once and whole; the error names
//    the tensor and a box that is missing.  Nothing has been read so far.
// 2. Find the MiB blocks that hold any of it: the unit of reading and of checking.
// 3. Where several readers want boxes (nodes of a job), divide the blocks: each is read by one of
//    those who want it, who passes it on.  So the store is read once, however many want it.
// 4. Each block, once its CRC held, goes to its places: Scatter.
//
// Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/manifest.h"

namespace muster::checkpoint {

// A set of blocks, counted over all files of a checkpoint (ManifestFile::first_block).
class BlockSet {
 public:
  BlockSet() = default;
  explicit BlockSet(std::uint64_t blocks) : words_((blocks + 63) / 64, 0) {}
  // As another process had it.
  explicit BlockSet(std::vector<std::uint64_t> words) : words_(std::move(words)) {}

  void Add(std::uint64_t first, std::uint64_t count);
  bool Has(std::uint64_t block) const { return (words_[block / 64] >> block % 64 & 1U) != 0; }
  bool HasAny(std::uint64_t first, std::uint64_t count) const;
  std::uint64_t size() const;
  std::span<const std::uint64_t> words() const { return words_; }

 private:
  std::vector<std::uint64_t> words_;
};

class LoadPlan {
 public:
  // kNotFound: no tensor of that name.  kInvalid: another dtype or shape, or 1. fails.
  static Result<LoadPlan> Make(Manifest manifest, std::vector<StagedTensor> wanted);

  const Manifest& manifest() const { return manifest_; }
  const std::vector<StagedTensor>& wanted() const { return wanted_; }
  const BlockSet& blocks() const { return blocks_; }

  // `bytes` are those of a file from its byte `begin` on; into[i] is the memory of wanted()[i].
  void Scatter(std::size_t file, std::uint64_t begin, std::span<const std::byte> bytes,
               std::span<std::byte* const> into) const;

 private:
  // What a saved box and a wanted one share: bytes [begin, end) of a file, with gaps.
  struct Piece {
    std::uint64_t begin = 0, end = 0, box = 0;
    std::uint32_t wanted = 0, tensor = 0;
  };

  explicit LoadPlan(Manifest manifest) : manifest_(std::move(manifest)) {}
  Status AddWanted(std::uint32_t index, std::vector<bool>& proven,
                   std::vector<std::uint32_t>& files);
  void SortByFile(const std::vector<std::uint32_t>& files);

  Manifest manifest_;
  std::vector<StagedTensor> wanted_;
  std::vector<Piece> pieces_;         // By file, then by begin.
  std::vector<std::uint64_t> reach_;  // The highest end of a file's pieces up to each.
  std::vector<std::size_t> of_file_;  // Where each file's pieces begin; one more.
  BlockSet blocks_;
};

// All tensors whose names match one of the patterns (* and ? as in a shell), whole, by name; all,
// without a pattern.  kNotFound: a pattern that matches none, unless one of them is empty.
Result<std::vector<StagedTensor>> WholeTensors(const Manifest& manifest,
                                               std::span<const std::string> patterns = {});

// Some blocks of one file that `reader` reads, for all who want any of them.
struct ReadTurn {
  std::uint32_t file = 0, reader = 0;
  std::uint64_t first = 0, blocks = 0;  // Of the file.
  bool operator==(const ReadTurn&) const = default;
};

// Every block that anybody wants, once, read by one who wants it; readers have equal shares as far
// as that allows. `wants[r]`: what reader r wants.  The same turns for the same arguments, wherever
// it is called.
std::vector<ReadTurn> DivideReads(const Manifest& manifest, std::span<const BlockSet> wants,
                                  std::uint64_t blocks_max);

}  // namespace muster::checkpoint
