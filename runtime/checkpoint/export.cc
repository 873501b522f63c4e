#include "runtime/checkpoint/export.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/safetensors.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint64_t kTurn = 256 * kBlock;  // Of tensors that are read together.

using Tensors = std::vector<StagedTensor>;

std::string FileName(std::size_t index, std::size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

// In the order of names, as many in a file as have room.
std::vector<Tensors> Divide(const Tensors& tensors, std::uint64_t bytes_max) {
  std::vector<Tensors> files(1);
  std::uint64_t held = 0;
  for (const StagedTensor& tensor : tensors) {
    const std::uint64_t bytes = BoxBytes(tensor);
    if (!files.back().empty() && held + bytes > bytes_max) {
      files.emplace_back();
      held = 0;
    }
    held += bytes;
    files.back().push_back(tensor);
  }
  return files;
}

class Writer {
 public:
  Writer(Store& store, std::string folder, const Manifest& manifest, const ExportOrder& order,
         std::uint64_t all)
      : store_(store), folder_(std::move(folder)), manifest_(manifest), order_(order), all_(all) {}

  Status Write(Store& into, const std::string& name, const Tensors& tensors) {
    const auto layout =
        LayoutShard(tensors, {{"format", "pt"},
                              {"muster.run", order_.run},
                              {"muster.generation", std::to_string(order_.commit.generation)},
                              {"muster.step", std::to_string(order_.commit.step)}});
    if (!layout.ok()) return layout.status();
    auto file = into.Create(name);
    if (!file.ok()) return std::move(file).status();
    RETURN_IF_ERROR((*file)->WriteAt(0, std::as_bytes(std::span(layout->header))));
    std::uint64_t at = layout->header.size();
    for (std::size_t next = 0; next < layout->order.size();) {
      Tensors turn;
      std::uint64_t bytes = 0;
      for (; next < layout->order.size(); ++next) {
        const StagedTensor& tensor = tensors[layout->order[next]];
        if (!turn.empty() && bytes + BoxBytes(tensor) > kTurn) break;
        bytes += BoxBytes(tensor);
        turn.push_back(tensor);
      }
      RETURN_IF_ERROR(Copy(**file, at, bytes, std::move(turn)));
      at += bytes;
    }
    return (*file)->SyncAndClose();
  }

 private:
  // Tensors that lie one after the other in the file, from its byte `at` on.
  Status Copy(StoreFile& file, std::uint64_t at, std::uint64_t bytes, Tensors tensors) {
    const auto plan = LoadPlan::Make(manifest_, std::move(tensors));
    if (!plan.ok()) return plan.status();
    memory_.resize(bytes);
    std::vector<std::byte*> into;
    std::byte* next = memory_.data();
    for (const StagedTensor& tensor : plan->wanted()) {
      into.push_back(next);
      next += BoxBytes(tensor);
    }
    RETURN_IF_ERROR(Fill(store_, folder_, *plan, into));
    RETURN_IF_ERROR(file.WriteAt(at, memory_));
    done_ += bytes;
    if (order_.progress) order_.progress(done_, all_);
    return {};
  }

  Store& store_;
  const std::string folder_;
  const Manifest& manifest_;
  const ExportOrder& order_;
  const std::uint64_t all_;
  std::uint64_t done_ = 0;
  std::vector<std::byte> memory_;
};

}  // namespace

Result<Exported> Export(Store& store, const ExportOrder& order, Store& into) {
  const auto record = ReadCommit(store, order.run, order.commit);
  if (!record.ok()) return record.status();
  const auto manifest = ReadManifest(store, *record);
  if (!manifest.ok()) return manifest.status();
  const auto tensors = WholeTensors(*manifest, order.patterns);
  if (!tensors.ok()) return tensors.status();

  Exported exported{.bytes = TotalBytes(*tensors), .tensors = tensors->size()};
  const std::vector<Tensors> files = Divide(*tensors, order.shard_bytes_max);
  Writer writer(store, FolderOf(order.run, record->save), *manifest, order, exported.bytes);
  nlohmann::json index = {{"metadata", {{"total_size", exported.bytes}}},
                          {"weight_map", nlohmann::json::object()}};
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string name = FileName(i, files.size());
    const Status written = writer.Write(into, name, files[i]).While("writing " + name);
    if (!written.ok()) {
      exported.files.push_back(name);
      for (const std::string& half : exported.files) (void)into.Unlink(half);
      return written;
    }
    for (const StagedTensor& tensor : files[i]) index["weight_map"][tensor.name] = name;
    exported.files.push_back(name);
  }
  RETURN_IF_ERROR(WriteWhole(into, "model.safetensors.index.json", index.dump(2) + "\n"));
  RETURN_IF_ERROR(into.SyncFolder(""));
  return exported;
}

}  // namespace muster::checkpoint
