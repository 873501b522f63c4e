// One measurement of the checkpoint engine a call; `./dev bench checkpoint` repeats and compares.
//
//   checkpoint_parts scale FOLDER           100,000 tensors in 64 shards: view, plan, memory
//   checkpoint_parts write FOLDER MIB       WriteShard, CRC and fsync, of random bytes
//   checkpoint_parts plain FOLDER MIB       write(2) of the same bytes, and fsync
//   checkpoint_parts load FOLDER MIB FROM TO   saved by FROM ranks, loaded by TO
//
// Prints one line of JSON.
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/file_posix.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster::checkpoint {
namespace {

using Seconds = std::chrono::duration<double>;

class Stopwatch {
 public:
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    return Seconds(now - std::exchange(began_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double PeakMiB() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

std::vector<std::byte> RandomBytes(std::uint64_t bytes) {
  std::vector<std::byte> all(bytes);
  std::mt19937_64 random(7);
  for (std::uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(all.data() + i, &word, 8);
  }
  return all;
}

// ---- 100,000 tensors x 64 shards ----------------------------------------------------------------

constexpr std::uint32_t kShards = 64;
constexpr std::size_t kTensors = 100'000;
constexpr std::uint64_t kRows = 256, kColumns = 512;  // F32: 512 KiB a tensor, 50 GB in all.

Manifest ScaleManifest() {
  ManifestBuilder builder({.generation = 1, .step = 1, .nonce = 1});
  builder.AddMember(kMemberRun, "scale");
  constexpr std::uint64_t kPart = kRows / kShards * kColumns * 4;
  const std::uint64_t size = 4096 + kTensors * kPart;
  const std::vector<std::uint32_t> crcs((size + kBlock - 1) / kBlock, 1);
  for (std::uint32_t f = 0; f < kShards; ++f) builder.AddFile(ShardName(f, kShards), size, crcs);
  const std::uint64_t shape[] = {kRows, kColumns};
  const std::uint64_t part[] = {kRows / kShards, kColumns};
  for (std::size_t t = 0; t < kTensors; ++t) {
    char name[64];
    std::snprintf(name, sizeof name, "model.layers.%06zu.weight", t);
    builder.AddTensor(name, "F32", shape);
    for (std::uint32_t f = 0; f < kShards; ++f) {
      const std::uint64_t offset[] = {f * part[0], 0};
      builder.AddBox(
          {.file = f, .begin = 4096 + t * kPart, .region = {.offset = offset, .shape = part}});
    }
  }
  auto manifest = builder.Finish();
  CHECK(manifest.ok());
  return *std::move(manifest);
}

// Written by another process (`prepare`), so that the peak of memory is the reader's.
int Scale(const std::string& folder, bool prepare) {
  auto store = OpenStore(folder);
  CHECK(store.ok());
  CommitRecord record{.run = "scale", .save = {.generation = 1, .step = 1, .nonce = 1}};
  const std::string path = FolderOf(record.run, record.save) + "/" + kManifestName;
  if (prepare) {
    const Manifest manifest = ScaleManifest();
    std::filesystem::create_directories(folder + "/" + FolderOf(record.run, record.save));
    CHECK(WriteWhole(
              **store, path,
              {reinterpret_cast<const char*>(manifest.bytes().data()), manifest.bytes().size()})
              .ok());
    std::printf("{\"manifest_mib\": %.1f, \"crc\": %u}\n",
                static_cast<double>(manifest.bytes().size()) / kBlock, Crc32c(manifest.bytes()));
    return 0;
  }
  Stopwatch watch;
  const auto size = (*store)->Size(path);
  CHECK(size.ok());
  record.manifest_bytes = *size;
  record.manifest_crc =
      static_cast<std::uint32_t>(std::strtoul(std::getenv("MANIFEST_CRC"), nullptr, 10));
  const auto manifest = ReadManifest(**store, record);
  CHECK(manifest.ok());
  const double view = watch.Lap();
  // Rank 5 of 48: no box is one that was saved.
  std::vector<StagedTensor> wanted;
  for (std::size_t t = 0; t < manifest->tensors(); ++t) {
    StagedTensor box =
        WholeTensor(std::string(manifest->tensor(t).name()), "F32", {kRows, kColumns});
    box.offset[0] = kRows * 5 / 48;
    box.shape[0] = kRows * 6 / 48 - box.offset[0];
    wanted.push_back(std::move(box));
  }
  watch.Lap();
  const auto plan = LoadPlan::Make(*manifest, std::move(wanted));
  CHECK(plan.ok());
  const BlockSet wants[] = {plan->blocks()};
  const std::size_t turns = DivideReads(*manifest, wants, 16).size();
  std::printf("{\"view_s\": %.4f, \"plan_s\": %.4f, \"peak_mib\": %.0f, \"turns\": %zu}\n", view,
              watch.Lap(), PeakMiB(), turns);
  return 0;
}

// ---- write and load -----------------------------------------------------------------------------

int Write(const std::string& folder, std::uint64_t mib, bool plain) {
  const std::vector<std::byte> bytes = RandomBytes(mib * kBlock);
  const std::vector<StagedTensor> tensors = {WholeTensor("w", "F32", {mib, kBlock / 4})};
  Stopwatch watch;
  const double cpu = CpuSeconds();
  if (plain) {
    const UniqueFd fd(
        open((folder + "/plain").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    CHECK(fd.valid() && WriteAll(fd.get(), bytes.data(), bytes.size()).ok() &&
          fsync(fd.get()) == 0);
  } else {
    auto store = OpenStore(folder);
    CHECK(store.ok() && (*store)->MakeFolder("r").ok() && (*store)->MakeFolder("r/data").ok());
    CHECK(WriteShard(**store, {.run = "r", .save = {.generation = 1, .step = 1, .nonce = 1}},
                     tensors, bytes)
              .ok());
  }
  std::printf("{\"s\": %.4f, \"cpu_s\": %.4f}\n", watch.Lap(), CpuSeconds() - cpu);
  return 0;
}

// Tensors of 8 MiB; ranks hold equal parts of the rows.
StagedTensor PartOf(const StagedTensor& whole, std::uint32_t part, std::uint32_t parts) {
  StagedTensor box = whole;
  box.offset[0] = whole.shape[0] * part / parts;
  box.shape[0] = whole.shape[0] * (part + 1) / parts - box.offset[0];
  return box;
}

int Load(const std::string& folder, std::uint64_t mib, std::uint32_t from, std::uint32_t to) {
  auto store = OpenStore(folder);
  CHECK(store.ok());
  std::vector<StagedTensor> tensors;
  for (std::uint64_t t = 0; t < mib / 8; ++t) {
    tensors.push_back(WholeTensor("t" + std::to_string(t), "F32", {2048, 1024}));
  }
  const auto generation = Claim(**store, "r", 1, 1);
  CHECK(generation.ok());
  const SaveId save{.generation = *generation, .step = 1, .nonce = 1};
  CommitOrder order{.run = "r", .save = save, .nodes = from};
  const std::vector<std::byte> bytes = RandomBytes(mib * kBlock / from + 8 * kBlock);
  for (std::uint32_t rank = 0; rank < from; ++rank) {
    std::vector<StagedTensor> boxes;
    for (const StagedTensor& whole : tensors) boxes.push_back(PartOf(whole, rank, from));
    auto report =
        WriteShard(**store, {.run = "r", .save = save, .node = rank, .nodes = from}, boxes, bytes);
    CHECK(report.ok());
    order.reports.push_back(*std::move(report));
  }
  CHECK(Commit(**store, order).ok());
  // All ranks' memory, touched before: what is measured is the load.
  std::vector<std::vector<std::byte>> memory;
  for (std::uint32_t rank = 0; rank < to; ++rank) {
    std::uint64_t all = 0;
    for (const StagedTensor& whole : tensors) all += BoxBytes(PartOf(whole, rank, to));
    memory.emplace_back(all, std::byte{1});
  }
  Stopwatch watch;
  for (std::uint32_t rank = 0; rank < to; ++rank) {
    const auto opened = OpenNewest(**store, "r");
    CHECK(opened.ok() && opened->has_value());
    std::vector<StagedTensor> wanted;
    std::vector<std::byte*> into;
    std::byte* at = memory[rank].data();
    for (const StagedTensor& whole : tensors) {
      wanted.push_back(PartOf(whole, rank, to));
      into.push_back(at);
      at += BoxBytes(wanted.back());
    }
    const auto plan = LoadPlan::Make((*opened)->manifest, std::move(wanted));
    CHECK(plan.ok() && Fill(**store, FolderOf("r", save), *plan, into).ok());
  }
  std::printf("{\"s\": %.4f}\n", watch.Lap());
  return 0;
}

int Main(const std::vector<std::string>& words) {
  const auto number = [&](std::size_t i) {
    return static_cast<std::uint32_t>(std::strtoul(words.at(i).c_str(), nullptr, 10));
  };
  CHECK(words.size() >= 2);
  if (words[0] == "prepare") return Scale(words[1], true);
  if (words[0] == "scale") return Scale(words[1], false);
  CHECK(words.size() >= 3);
  if (words[0] == "load") return Load(words[1], number(2), number(3), number(4));
  return Write(words[1], number(2), words[0] == "plain");
}

}  // namespace
}  // namespace muster::checkpoint

int main(int argc, char** argv) {
  return muster::checkpoint::Main({argv + 1, argv + argc});
}
