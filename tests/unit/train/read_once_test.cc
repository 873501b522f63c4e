// The leaders' reading together, over a backend that is told which transfers end, and when.
#include "runtime/train/read_once.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <deque>

#include "tests/unit/train/cluster.h"

namespace muster {
namespace {

// What a transfer does when it is waited for.
enum class Comes : std::uint8_t {
  kAtOnce,
  kJustAfterTheWait,  // wait() is over first.
  kNever,             // Not before the group is aborted; as MPI, it goes on with its memory then.
};

struct Script {
  struct Message {
    Comes comes = Comes::kAtOnce;
    std::vector<std::byte> bytes;
  };
  std::deque<Message> received;                 // What recvs get, in their order; then kNever.
  std::vector<std::span<std::byte>> under_way;  // Memory of those that never came.
};

class ScriptedWork final : public Work {
 public:
  ScriptedWork(std::uint64_t seq, Comes comes, const AbortFlag& abort)
      : Work(seq), comes_(comes), abort_(abort) {}
  bool done() override { return abort_.set() || comes_ == Comes::kAtOnce; }
  Status wait(Duration) override {
    if (abort_.set()) return abort_.reason();
    if (comes_ == Comes::kAtOnce) return {};
    if (comes_ == Comes::kJustAfterTheWait) comes_ = Comes::kAtOnce;
    return Status(Code::kDeadline, "it did not answer in time");
  }

 private:
  Comes comes_;
  const AbortFlag& abort_;
};

class ScriptedBackend final : public Backend {
 public:
  ScriptedBackend(int rank, int ranks, Script& script) : Backend(rank, ranks), script_(script) {}
  const char* name() const override { return "scripted"; }
  Status Run(const Call&) override { return Status(Code::kUnimplemented, "transfers only"); }
  std::unique_ptr<Work> Start(const Call& call) override {
    Comes comes = Comes::kAtOnce;
    if (call.collective.kind == Collective::Kind::kRecv) {
      const Buffer& out = call.collective.out;
      const std::span memory(static_cast<std::byte*>(out.data), out.bytes());
      comes = Comes::kNever;
      if (!script_.received.empty()) {
        const Script::Message message = std::move(script_.received.front());
        script_.received.pop_front();
        EXPECT_LE(message.bytes.size(), memory.size());
        std::copy(message.bytes.begin(), message.bytes.end(), memory.begin());
        comes = message.comes;
      }
      if (comes == Comes::kNever) script_.under_way.push_back(memory);
    }
    return std::make_unique<ScriptedWork>(call.seq, comes, abort_);
  }
  Result<std::unique_ptr<Backend>> Split(const SplitPlan&) override {
    return Status(Code::kUnimplemented, "transfers only");
  }

 private:
  Script& script_;
};

class ReadOnceTest : public ::testing::Test {
 protected:
  // Numbers, as they travel.
  static std::vector<std::byte> Words(const std::vector<std::uint64_t>& words) {
    const auto bytes = std::as_bytes(std::span(words));
    return {bytes.begin(), bytes.end()};
  }
  Topology At(int rank) const {
    return *Topology::Make(std::vector<Place>{{.node = 0}, {.node = 1}}, rank, 2);
  }
  // Memory that is freed is no page of ours then.
  static void FreeAtOnce() { mallopt(M_MMAP_THRESHOLD, 64 << 10); }
  static bool IsThere(std::span<std::byte> memory) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.data()) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(memory.data() + memory.size());
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the page that it lies in.
    return msync(reinterpret_cast<void*>(begin), end - begin, MS_ASYNC) == 0;
  }
  // As MPI does with a message that had begun.
  void WriteLate() {
    ASSERT_FALSE(script_.under_way.empty());
    for (const std::span<std::byte> memory : script_.under_way) {
      ASSERT_TRUE(IsThere(memory)) << memory.size() << " bytes are freed";
      std::memset(memory.data(), 7, memory.size());
    }
  }

  Script script_;
  checkpoint::CommitStore store_{1};
};

TEST_F(ReadOnceTest, WhatCameAsTheWaitWasOverHasCome) {
  ProcessGroup group(std::make_unique<ScriptedBackend>(1, 2, script_));
  const Topology topology = At(1);
  FakeSink sink(store_, 1);
  script_.received.push_back({.comes = Comes::kJustAfterTheWait, .bytes = Words({0, 0, 0})});
  const auto opened = ReadOnce(group, topology, sink).Open();
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_FALSE(opened->has_value());
}

TEST_F(ReadOnceTest, TheMemoryOfAManifestThatDoesNotComeStays) {
  FreeAtOnce();
  ProcessGroup group(std::make_unique<ScriptedBackend>(1, 2, script_));
  const Topology topology = At(1);
  FakeSink sink(store_, 1);
  script_.received.push_back({.bytes = Words({0, 1, 1 << 20})});
  const auto opened = ReadOnce(group, topology, sink).Open();
  EXPECT_EQ(opened.status().code(), Code::kDeadline);
  EXPECT_NE(opened.status().message().find("node 0 has not sent the manifest"), std::string::npos)
      << opened.status().message();
  WriteLate();
}

TEST_F(ReadOnceTest, TheMemoryOfBlocksThatDoNotComeStays) {
  FreeAtOnce();
  const std::vector<link::StagedTensor> tensors = {{.name = "w",
                                                    .dtype = "U8",
                                                    .global_shape = {std::uint64_t{4} << 20U},
                                                    .offset = {0},
                                                    .shape = {std::uint64_t{4} << 20U}}};
  std::vector<std::byte> bytes(std::size_t{4} << 20U, std::byte{3});
  store_.Save(0, 5, tensors, bytes, "{}");
  const auto manifest = store_.OpenNewest();
  ASSERT_TRUE(manifest.ok() && manifest->has_value());

  ProcessGroup group(std::make_unique<ScriptedBackend>(0, 2, script_));
  const Topology topology = At(0);
  FakeSink sink(store_, 0);
  // The other node wants all blocks, too.
  ASSERT_LT((*manifest)->blocks(), 64U);
  script_.received.push_back({.bytes = Words({0, (1ULL << (*manifest)->blocks()) - 1})});
  std::byte* const into[] = {bytes.data()};
  const Status filled = ReadOnce(group, topology, sink).Fill(**manifest, {}, tensors, into);
  EXPECT_EQ(filled.code(), Code::kDeadline);
  EXPECT_NE(filled.message().find("node 1 has not sent MiB"), std::string::npos)
      << filled.message();
  WriteLate();
}

}  // namespace
}  // namespace muster
