// One measurement of the checkpoint engine a call; `./dev bench checkpoint` repeats and compares.
//
//   checkpoint_parts scale FOLDER           100,000 tensors in 64 shards: view, plan, memory
//   checkpoint_parts write STORE MIB        WriteShard, CRC and fsync, of random bytes
//   checkpoint_parts plain FOLDER MIB       write(2) of the same bytes, and fsync
//   checkpoint_parts beside FOLDER MIB RUNS    the two in turn
//   checkpoint_parts memcpy - MIB THREADS      three times, of so many bytes in all
//   checkpoint_parts save STORE MIB FROM       by FROM nodes, a run of their own
//   checkpoint_parts load STORE MIB FROM TO    what those saved, by TO nodes
//
// Prints one line of JSON.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/mutex.h"
#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/read_once.h"
#include "runtime/train/topology.h"

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

struct Took {
  double seconds = 0, cpu = 0;
};

// Weights of 9 MiB and biases of 12 KiB in turn, and one more tensor of what is left.
std::vector<StagedTensor> LayersOf(std::uint64_t bytes) {
  constexpr std::uint64_t kIn = 768, kOut = 3072;
  std::vector<StagedTensor> tensors;
  std::uint64_t left = bytes / 4;
  for (int layer = 0; left >= kIn * kOut + kOut; ++layer) {
    const std::string name = "layer" + std::to_string(layer);
    tensors.push_back(WholeTensor(name + ".weight", "F32", {kIn, kOut}));
    tensors.push_back(WholeTensor(name + ".bias", "F32", {kOut}));
    left -= kIn * kOut + kOut;
  }
  if (left > 0) tensors.push_back(WholeTensor("rest", "F32", {left}));
  return tensors;
}

Took WriteOnce(const std::string& folder, std::span<const std::byte> bytes, bool plain) {
  const std::vector<StagedTensor> tensors = LayersOf(bytes.size());
  const double cpu = CpuSeconds();
  Stopwatch watch;
  if (plain) {
    const UniqueFd fd(
        open((folder + "/plain").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    CHECK(fd.valid() && WriteAll(fd.get(), bytes.data(), bytes.size()).ok() &&
          fsync(fd.get()) == 0);
  } else {
    const auto store = OpenAnyStore(folder);
    CHECK(store.ok() && (*store)->MakeFolder("r").ok() && (*store)->MakeFolder("r/data").ok());
    CHECK(WriteShard(**store, {.run = "r", .save = {.generation = 1, .step = 1, .nonce = 1}},
                     tensors, bytes)
              .ok());
  }
  return {.seconds = watch.Lap(), .cpu = CpuSeconds() - cpu};
}

int Write(const std::string& folder, std::uint64_t mib, bool plain) {
  const Took took = WriteOnce(folder, RandomBytes(mib * kBlock), plain);
  std::printf("{\"s\": %.4f, \"cpu_s\": %.4f}\n", took.seconds, took.cpu);
  return 0;
}

// In one process, one right after the other: a virtual machine gives free memory back to its host,
// and a page that has to come from there again costs several times the write of it.
int Beside(const std::string& folder, std::uint64_t mib, int runs) {
  const std::vector<std::byte> bytes = RandomBytes(mib * kBlock);
  std::string lists[2];
  for (int run = -1; run < runs; ++run) {
    for (const bool first : {true, false}) {
      const bool plain = first == (run % 2 == 0);
      const std::string own = folder + "/own";
      std::filesystem::create_directory(own);
      const Took took = WriteOnce(own, bytes, plain);
      std::filesystem::remove_all(own);
      if (run >= 0) lists[plain ? 1 : 0] += (run > 0 ? ", " : "") + std::to_string(took.seconds);
    }
  }
  std::printf("{\"ours\": [%s], \"plain\": [%s]}\n", lists[0].c_str(), lists[1].c_str());
  return 0;
}

// Tensors of 8 MiB; ranks hold equal parts of the rows.
StagedTensor PartOf(const StagedTensor& whole, std::uint32_t part, std::uint32_t parts) {
  StagedTensor box = whole;
  box.offset[0] = whole.shape[0] * part / parts;
  box.shape[0] = whole.shape[0] * (part + 1) / parts - box.offset[0];
  return box;
}

// What a save cannot do without: from one touched memory to a shared one, in equal parts.
int Copy(std::uint64_t mib, std::uint64_t threads) {
  const std::vector<std::byte> from = RandomBytes(mib * kBlock);
  const UniqueFd fd(memfd_create("copy", MFD_CLOEXEC));
  CHECK(fd.valid() && ftruncate(fd.get(), static_cast<off_t>(from.size())) == 0);
  void* into = mmap(nullptr, from.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  CHECK(into != MAP_FAILED);
  std::memset(into, 1, from.size());
  std::string list;
  for (int run = 0; run < 3; ++run) {
    std::barrier start(static_cast<std::ptrdiff_t>(threads) + 1);
    std::vector<std::jthread> copying;
    for (std::uint64_t t = 0; t < threads; ++t) {
      copying.emplace_back(
          [&, begin = from.size() * t / threads, end = from.size() * (t + 1) / threads] {
            start.arrive_and_wait();
            std::memcpy(static_cast<std::byte*>(into) + begin, from.data() + begin, end - begin);
          });
    }
    start.arrive_and_wait();
    Stopwatch watch;
    copying.clear();
    list += (run > 0 ? ", " : "") + std::to_string(watch.Lap());
  }
  munmap(into, from.size());
  std::printf("{\"s\": [%s]}\n", list.c_str());
  return 0;
}

std::vector<StagedTensor> Weights(std::uint64_t mib) {
  std::vector<StagedTensor> tensors;
  for (std::uint64_t t = 0; t < mib / 8; ++t) {
    tensors.push_back(WholeTensor("t" + std::to_string(t), "F32", {2048, 1024}));
  }
  return tensors;
}

std::string RunName(std::uint32_t nodes) {
  return "by" + std::to_string(nodes);
}

int Save(const std::string& folder, std::uint64_t mib, std::uint32_t nodes) {
  const auto store = OpenAnyStore(folder);
  CHECK(store.ok());
  const std::string run = RunName(nodes);
  const auto generation = Claim(**store, run, 1, 1);
  CHECK(generation.ok());
  const SaveId save{.generation = *generation, .step = 1, .nonce = 1};
  CommitOrder order{.run = run, .save = save, .nodes = nodes};
  const std::vector<std::byte> bytes = RandomBytes(mib * kBlock / nodes + 8 * kBlock);
  for (std::uint32_t node = 0; node < nodes; ++node) {
    std::vector<StagedTensor> boxes;
    for (const StagedTensor& whole : Weights(mib)) boxes.push_back(PartOf(whole, node, nodes));
    auto report =
        WriteShard(**store, {.run = run, .save = save, .node = node, .nodes = nodes}, boxes, bytes);
    CHECK(report.ok());
    order.reports.push_back(*std::move(report));
  }
  CHECK(Commit(**store, order).ok());
  return 0;
}

// Reads as movers do, without the link between.
class StoreSink final : public CheckpointSink {
 public:
  StoreSink(const std::string& folder, std::string run) : run_(std::move(run)) {
    auto store = OpenAnyStore(folder);
    CHECK(store.ok());
    store_ = *std::move(store);
  }
  Result<std::optional<Manifest>> OpenNewest() override {
    auto opened = checkpoint::OpenNewest(*store_, run_);
    CHECK(opened.ok() && opened->has_value());
    return std::optional((*opened)->manifest);
  }
  Result<std::span<const std::byte>> Read(const SaveId& save, const ManifestFile& file,
                                          std::uint64_t first, std::uint64_t blocks) override {
    const Blocks wanted = BlocksOf(FolderOf(run_, save), file, first, blocks);
    std::swap(read_[0], read_[1]);
    read_[0].resize(wanted.bytes());
    RETURN_IF_ERROR(ReadBlocksInto(*store_, wanted, read_[0]));
    return std::span<const std::byte>(read_[0]);
  }
  Status Save(const StagedShard&) override { return {}; }
  Status Skip(std::uint64_t) override { return {}; }
  Result<std::vector<link::Saved>> Poll(Duration) override { return std::vector<link::Saved>(); }

 private:
  const std::string run_;
  std::unique_ptr<Store> store_;
  std::vector<std::byte> read_[2];
};

// What `from` nodes saved, by `to` nodes of one rank, each a thread, as the training loop loads it.
int Load(const std::string& folder, std::uint64_t mib, std::uint32_t from, int to) {
  ThreadsRendezvous rendezvous(to);
  std::barrier start(to + 1);
  // Movers are processes: what opens or closes a store knows of no other thread.
  Mutex mutex;
  const auto alone = [&](const auto& act) {
    const MutexLock lock(mutex);
    return act();
  };
  const auto load = [&](int node) {
    std::vector<StagedTensor> wanted;
    std::uint64_t bytes = 0;
    for (const StagedTensor& whole : Weights(mib)) {
      wanted.push_back(
          PartOf(whole, static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(to)));
      bytes += BoxBytes(wanted.back());
    }
    std::vector<std::byte> memory(bytes, std::byte{1});  // Touched: what is measured is the load.
    std::vector<std::byte*> into;
    std::byte* at = memory.data();
    for (const StagedTensor& box : wanted) {
      into.push_back(at);
      at += BoxBytes(box);
    }
    std::vector<Place> places;
    for (int other = 0; other < to; ++other) places.push_back({.node = other});
    const auto topology = Topology::Make(places, node, static_cast<std::uint32_t>(to));
    CHECK(topology.ok());
    const auto group = MakeThreadsGroup(rendezvous, node);
    auto sink = alone([&] { return std::make_unique<StoreSink>(folder, RunName(from)); });
    ReadOnce read_once(*group, *topology, *sink);
    start.arrive_and_wait();
    const auto opened = read_once.Open();
    CHECK(opened.ok() && opened->has_value());
    const Status filled = read_once.Fill(**opened, Status(), std::move(wanted), into);
    if (!filled.ok()) std::fprintf(stderr, "node %d: %s\n", node, filled.message().c_str());
    CHECK(filled.ok());
    CHECK(group->barrier().ok());
    alone([&] { return std::exchange(sink, nullptr); });
  };
  std::vector<std::jthread> threads;
  for (int node = 0; node < to; ++node) threads.emplace_back(load, node);
  start.arrive_and_wait();
  Stopwatch watch;
  threads.clear();
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
  if (words[0] == "beside") return Beside(words[1], number(2), static_cast<int>(number(3)));
  if (words[0] == "memcpy") return Copy(number(2), number(3));
  if (words[0] == "save") return Save(words[1], number(2), number(3));
  if (words[0] == "load") {
    return Load(words[1], number(2), number(3), static_cast<int>(number(4)));
  }
  return Write(words[1], number(2), words[0] == "plain");
}

}  // namespace
}  // namespace muster::checkpoint

int main(int argc, char** argv) {
  return muster::checkpoint::Main({argv + 1, argv + argc});
}
