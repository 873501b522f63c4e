#include "runtime/checkpoint/plan.h"

#include <algorithm>
#include <bit>

#include "runtime/checkpoint/crc32c.h"

namespace muster::checkpoint {
namespace {

// With * for any number of characters and ? for one.
bool Matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;  // The last one, and what it has taken up to.
  std::size_t taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::string WhatIsThere(const Manifest& manifest) {
  std::string text = "it has " + std::to_string(manifest.tensors()) + " tensors";
  if (manifest.tensors() > 0)
    text += ", such as \"" + std::string(manifest.tensor(0).name()) + "\"";
  return text;
}

StagedTensor Whole(const ManifestTensor& tensor) {
  return WholeTensor(std::string(tensor.name()), std::string(tensor.dtype()),
                     {tensor.shape().begin(), tensor.shape().end()});
}

}  // namespace

void BlockSet::Add(std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t block = first; block < first + count; ++block) {
    words_[block / 64] |= std::uint64_t{1} << block % 64;
  }
}

bool BlockSet::HasAny(std::uint64_t first, std::uint64_t count) const {
  for (std::uint64_t block = first; block < first + count; ++block) {
    if (Has(block)) return true;
  }
  return false;
}

std::uint64_t BlockSet::size() const {
  std::uint64_t size = 0;
  for (const std::uint64_t word : words_) size += static_cast<std::uint64_t>(std::popcount(word));
  return size;
}

Result<LoadPlan> LoadPlan::Make(Manifest manifest, std::vector<StagedTensor> wanted) {
  LoadPlan plan(std::move(manifest));
  plan.wanted_ = std::move(wanted);
  plan.blocks_ = BlockSet(plan.manifest_.blocks());
  std::vector<bool> proven(plan.manifest_.tensors());
  std::vector<std::uint32_t> files;  // Of each piece.
  for (std::uint32_t i = 0; i < plan.wanted_.size(); ++i) {
    RETURN_IF_ERROR(plan.AddWanted(i, proven, files));
  }
  plan.SortByFile(files);
  return plan;
}

Status LoadPlan::AddWanted(std::uint32_t index, std::vector<bool>& proven,
                           std::vector<std::uint32_t>& files) {
  const StagedTensor& want = wanted_[index];
  RETURN_IF_ERROR(CheckBox(want));
  const auto found = manifest_.Find(want.name);
  if (!found.has_value()) {
    return Status(Code::kNotFound,
                  "the checkpoint has no tensor \"" + want.name + "\"; " + WhatIsThere(manifest_));
  }
  const ManifestTensor tensor = manifest_.tensor(*found);
  if (tensor.dtype() != want.dtype || !std::ranges::equal(tensor.shape(), want.global_shape)) {
    return Status(Code::kInvalid, "tensor \"" + want.name + "\" is " + std::string(tensor.dtype()) +
                                      " " + ShapeText(tensor.shape()) + " in the checkpoint, and " +
                                      want.dtype + " " + ShapeText(want.global_shape) +
                                      " is wanted");
  }
  if (!proven[*found]) RETURN_IF_ERROR(CheckTensor(manifest_, *found));
  proven[*found] = true;
  const Region region = {.offset = want.offset, .shape = want.shape};
  for (std::uint64_t i = 0; i < tensor.boxes(); ++i) {
    const ManifestBox box = tensor.box(i);
    if (!Intersect(box.region, region, nullptr)) continue;
    const SharedRuns runs(box.region, region, tensor.item_bytes());
    const std::uint64_t first_block = manifest_.file(box.file).first_block;
    runs.Touch(kBlock, [&](std::uint64_t begin, std::uint64_t end) {
      const std::uint64_t first = (box.begin + begin) / kBlock;
      blocks_.Add(first_block + first, (box.begin + end - 1) / kBlock - first + 1);
    });
    pieces_.push_back({.begin = box.begin + runs.begin(),
                       .end = box.begin + runs.end(),
                       .box = i,
                       .wanted = index,
                       .tensor = static_cast<std::uint32_t>(*found)});
    files.push_back(box.file);
  }
  return {};
}

void LoadPlan::SortByFile(const std::vector<std::uint32_t>& files) {
  of_file_.assign(manifest_.files() + 1, 0);
  for (const std::uint32_t file : files) ++of_file_[file + 1];
  for (std::size_t i = 1; i < of_file_.size(); ++i) of_file_[i] += of_file_[i - 1];
  std::vector<std::size_t> next = of_file_;
  std::vector<Piece> sorted(pieces_.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i) sorted[next[files[i]]++] = pieces_[i];
  pieces_ = std::move(sorted);
  reach_.resize(pieces_.size());
  for (std::size_t file = 0; file + 1 < of_file_.size(); ++file) {
    const auto from = pieces_.begin() + static_cast<std::ptrdiff_t>(of_file_[file]);
    const auto to = pieces_.begin() + static_cast<std::ptrdiff_t>(of_file_[file + 1]);
    std::sort(from, to, [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
    std::uint64_t reach = 0;
    for (std::size_t i = of_file_[file]; i < of_file_[file + 1]; ++i) {
      reach_[i] = reach = std::max(reach, pieces_[i].end);
    }
  }
}

void LoadPlan::Scatter(std::size_t file, std::uint64_t begin, std::span<const std::byte> bytes,
                       std::span<std::byte* const> into) const {
  const std::uint64_t end = begin + bytes.size();
  const auto first = reach_.begin() + static_cast<std::ptrdiff_t>(of_file_[file]);
  const auto last = reach_.begin() + static_cast<std::ptrdiff_t>(of_file_[file + 1]);
  auto at = static_cast<std::size_t>(std::upper_bound(first, last, begin) - reach_.begin());
  for (; at < of_file_[file + 1] && pieces_[at].begin < end; ++at) {
    const Piece& piece = pieces_[at];
    if (piece.end <= begin) continue;
    const ManifestTensor tensor = manifest_.tensor(piece.tensor);
    const ManifestBox box = tensor.box(piece.box);
    const StagedTensor& want = wanted_[piece.wanted];
    const SharedRuns runs(box.region, {.offset = want.offset, .shape = want.shape},
                          tensor.item_bytes());
    const std::uint64_t from = std::max(begin, piece.begin);
    const std::uint64_t to = std::min(end, piece.end);
    CopyShared(runs, from - box.begin, bytes.subspan(from - begin, to - from), into[piece.wanted]);
  }
}

Result<std::vector<StagedTensor>> WholeTensors(const Manifest& manifest,
                                               std::span<const std::string> patterns) {
  std::vector<StagedTensor> all;
  const bool any = std::find(patterns.begin(), patterns.end(), "") != patterns.end();
  std::vector<bool> used(patterns.size(), any);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    // Everything, of which there may be nothing.
    used[p] = any || (manifest.tensors() == 0 && Matches(patterns[p], ""));
  }
  for (std::size_t i = 0; i < manifest.tensors(); ++i) {
    const ManifestTensor tensor = manifest.tensor(i);
    bool wanted = patterns.empty();
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      if (!Matches(patterns[p], tensor.name())) continue;
      wanted = true;
      used[p] = true;
    }
    if (wanted) all.push_back(Whole(tensor));
  }
  const auto unused = std::find(used.begin(), used.end(), false);
  if (unused == used.end()) return all;
  return Status(Code::kNotFound, "no tensor of the checkpoint matches \"" +
                                     patterns[static_cast<std::size_t>(unused - used.begin())] +
                                     "\"; " + WhatIsThere(manifest));
}

std::vector<ReadTurn> DivideReads(const Manifest& manifest, std::span<const BlockSet> wants,
                                  std::uint64_t blocks_max) {
  std::vector<ReadTurn> turns;
  std::vector<std::uint64_t> load(wants.size(), 0);
  // The idlest of those who want it.
  const auto reader_of = [&](std::uint64_t block) {
    std::size_t best = wants.size();
    for (std::size_t r = 0; r < wants.size(); ++r) {
      if (wants[r].Has(block) && (best == wants.size() || load[r] < load[best])) best = r;
    }
    return best;
  };
  for (std::uint32_t f = 0; f < manifest.files(); ++f) {
    const ManifestFile file = manifest.file(f);
    for (std::uint64_t at = 0; at < file.crcs.size();) {
      const std::size_t reader = reader_of(file.first_block + at);
      if (reader == wants.size()) {
        ++at;
        continue;
      }
      std::uint64_t count = 1;
      while (count < blocks_max && at + count < file.crcs.size() &&
             wants[reader].Has(file.first_block + at + count)) {
        ++count;
      }
      load[reader] += count;
      turns.push_back(
          {.file = f, .reader = static_cast<std::uint32_t>(reader), .first = at, .blocks = count});
      at += count;
    }
  }
  return turns;
}

}  // namespace muster::checkpoint
