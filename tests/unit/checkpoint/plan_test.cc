// From any mesh to any other: what is wanted is proven to be there, read once, and put in place.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>

#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/plan.h"
#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/mesh.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

// Element i of tensor t, as bytes that tell both.
std::vector<std::byte> WholeBytes(const StagedTensor& whole, std::size_t t) {
  std::vector<std::byte> bytes(BoxBytes(whole));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i + 1) * (2654435761U + t * 40503U) >> 13U);
  }
  return bytes;
}

std::vector<std::byte> BytesOf(const StagedTensor& box, const StagedTensor& whole,
                               const std::vector<std::byte>& bytes) {
  std::vector<std::byte> part(BoxBytes(box));
  const SharedRuns runs({.offset = whole.offset, .shape = whole.shape},
                        {.offset = box.offset, .shape = box.shape}, *ItemBytes(box.dtype));
  CopyShared(runs, 0, bytes, part.data());
  return part;
}

class Resharding : public testing::Test {
 protected:
  // Saves the tensors as the ranks of `mesh` hold them; replicas share the work.
  void Save(const std::vector<StagedTensor>& tensors, const Mesh& mesh) {
    store_ = std::make_unique<FaultyStore>();
    tensors_ = tensors;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      wholes_[tensors[i].name] = WholeBytes(tensors[i], i);
    }
    ASSERT_EQ(MustClaim(*store_, 1), 1U);
    const SaveId save{.generation = 1, .step = 10, .nonce = 7};
    CommitOrder order{.run = kRun, .save = save, .nodes = mesh.ranks()};
    for (std::uint32_t rank = 0; rank < mesh.ranks(); ++rank) {
      const auto boxes = mesh.SavedBy(rank, tensors);
      std::vector<std::byte> bytes;
      for (const StagedTensor& box : boxes) {
        const auto part = BytesOf(box, WholeOf(box.name), wholes_.at(box.name));
        bytes.insert(bytes.end(), part.begin(), part.end());
      }
      auto report = WriteShard(
          *store_, {.run = kRun, .save = save, .node = rank, .nodes = mesh.ranks()}, boxes, bytes);
      ASSERT_TRUE(report.ok()) << report.status().message();
      order.reports.push_back(*std::move(report));
    }
    const auto record = Commit(*store_, order);
    ASSERT_TRUE(record.ok()) << record.status().message();
  }

  const StagedTensor& WholeOf(const std::string& name) {
    return *std::find_if(tensors_.begin(), tensors_.end(),
                         [&](const StagedTensor& t) { return t.name == name; });
  }

  // Every rank of `mesh` gets what it holds; each block is read by one and passed on.
  void ExpectLoads(const Mesh& mesh) {
    const auto opened = OpenNewest(*store_, kRun);
    ASSERT_TRUE(opened.ok() && opened->has_value()) << opened.status().message();
    const Manifest& manifest = (*opened)->manifest;
    std::vector<LoadPlan> plans;
    std::vector<BlockSet> wants;
    std::vector<std::vector<std::vector<std::byte>>> memory(mesh.ranks());
    std::vector<std::vector<std::byte*>> into(mesh.ranks());
    for (std::uint32_t rank = 0; rank < mesh.ranks(); ++rank) {
      auto plan = LoadPlan::Make(manifest, mesh.Holds(rank, tensors_));
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      for (const StagedTensor& box : plan->wanted()) {
        memory[rank].emplace_back(BoxBytes(box), std::byte{0xee});
        into[rank].push_back(memory[rank].back().data());
      }
      wants.push_back(plan->blocks());
      plans.push_back(*std::move(plan));
    }
    const std::string folder = FolderOf(kRun, (*opened)->record.save);
    const std::uint64_t before = store_->bytes_read();
    std::vector<std::uint64_t> load(mesh.ranks());
    for (const ReadTurn& turn : DivideReads(manifest, wants, /*blocks_max=*/2)) {
      for (std::uint64_t block = 0; block < turn.blocks; ++block) {
        EXPECT_TRUE(
            wants[turn.reader].Has(manifest.file(turn.file).first_block + turn.first + block))
            << "read by one who does not want it";
      }
      load[turn.reader] += turn.blocks;
      const Blocks blocks = BlocksOf(folder, manifest.file(turn.file), turn.first, turn.blocks);
      const Status read =
          ReadBlocks(*store_, blocks, [&](std::uint64_t begin, std::span<const std::byte> bytes) {
            for (std::uint32_t rank = 0; rank < mesh.ranks(); ++rank) {
              plans[rank].Scatter(turn.file, begin, bytes, into[rank]);
            }
          });
      ASSERT_TRUE(read.ok()) << read.message();
    }
    std::uint64_t all = 0;
    for (std::size_t f = 0; f < manifest.files(); ++f) all += manifest.file(f).size;
    EXPECT_EQ(store_->bytes_read() - before, all)
        << "bytes read / bytes of the checkpoint is not 1";
    for (std::uint32_t rank = 0; rank < mesh.ranks(); ++rank) {
      for (std::size_t i = 0; i < plans[rank].wanted().size(); ++i) {
        const StagedTensor& box = plans[rank].wanted()[i];
        ASSERT_TRUE(memory[rank][i] == BytesOf(box, WholeOf(box.name), wholes_.at(box.name)))
            << box.name << " of rank " << rank;
      }
    }
  }

  std::unique_ptr<FaultyStore> store_;
  std::vector<StagedTensor> tensors_;
  std::map<std::string, std::vector<std::byte>> wholes_;
};

std::vector<StagedTensor> Model() {
  return {WholeTensor("exp_avg.layer.0.w", "F32", {96, 130}),
          WholeTensor("layer.0.w", "F32", {96, 130}),
          WholeTensor("layer.1.b", "BF16", {61}),
          WholeTensor("layer.1.w", "BF16", {16, 8, 33}),
          WholeTensor("layer.2.none", "F32", {0, 5}),
          WholeTensor("layer.3.w", "U8", {1100, 2003}),  // Blocks of its own.
          WholeTensor("step", "I64", {})};
}

TEST_F(Resharding, FromAnyMeshToAnyOtherReadsEachByteOnce) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto mesh = [&] {
    const auto one = [&] { return static_cast<std::uint32_t>(1 + random() % 3); };
    return Mesh{.tp = one(), .pp = one(), .dp = one(), .zero1 = random() % 2 == 0};
  };
  for (int round = 0; round < 12 && !HasFailure(); ++round) {
    const Mesh from = mesh();
    Save(Model(), from);
    for (int k = 0; k < 3; ++k) {
      const Mesh to = mesh();
      SCOPED_TRACE(from.Text() + " to " + to.Text());
      ExpectLoads(to);
    }
  }
}

TEST_F(Resharding, ReplicasReadTheCheckpointOnceTogetherAndEquallyMuch) {
  Save(Model(), {.dp = 2});
  for (const std::uint32_t replicas : {1U, 2U, 4U, 8U}) {
    SCOPED_TRACE(replicas);
    ExpectLoads({.dp = replicas});
  }
}

TEST(DivideReads, GivesReadersThatWantTheSameEqualShares) {
  ManifestBuilder builder({});
  builder.AddFile("f", 1000 * kBlock, std::vector<std::uint32_t>(1000));
  const auto manifest = builder.Finish();
  ASSERT_TRUE(manifest.ok());
  BlockSet all(1000);
  all.Add(0, 1000);
  BlockSet few(1000);
  few.Add(500, 100);
  const std::vector<BlockSet> wants = {all, few, all};
  std::vector<std::uint64_t> load(3);
  BlockSet seen(1000);
  for (const ReadTurn& turn : DivideReads(*manifest, wants, 16)) {
    EXPECT_FALSE(seen.HasAny(turn.first, turn.blocks));
    EXPECT_LE(turn.blocks, 16U);
    seen.Add(turn.first, turn.blocks);
    load[turn.reader] += turn.blocks;
  }
  EXPECT_EQ(seen.size(), 1000U);
  EXPECT_EQ(load[1], 88U) << "it was idle, so all that it wants is its, behind a turn under way";
  EXPECT_NEAR(static_cast<double>(load[0]), static_cast<double>(load[2]), 16);
}

TEST(Plan, ReadsOnlyTheBlocksThatHoldWhatIsWanted) {
  FaultyStore store;
  MustClaim(store, 1);
  const std::vector<StagedTensor> tensors = {WholeTensor("a", "U8", {4, kBlock * 3}),
                                             WholeTensor("b", "U8", {kBlock * 5})};
  std::vector<std::byte> bytes(TotalBytes(tensors), std::byte{7});
  ASSERT_TRUE(SaveWhole(store, kRun, {.generation = 1, .step = 1, .nonce = 1},
                        {.tensors = tensors, .bytes = bytes}, 1000)
                  .ok());
  const auto opened = OpenNewest(store, kRun);
  ASSERT_TRUE(opened.ok() && opened->has_value());
  StagedTensor column = tensors[0];  // Of four rows of 3 MiB, 4 KiB each.
  column.shape[1] = 4096;
  const auto plan = LoadPlan::Make((*opened)->manifest, {column});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->blocks().size(), 4U);
  const auto partial = LoadNewest(store, kRun, std::vector<std::string>{"b*", "?"});
  ASSERT_TRUE(partial.ok());
  EXPECT_EQ((*partial)->tensors.size(), 2U);
  const std::uint64_t before = store.bytes_read();
  const auto one = LoadNewest(store, kRun, std::vector<std::string>{"b"});
  ASSERT_TRUE(one.ok());
  EXPECT_EQ((*one)->bytes.size(), kBlock * 5);
  EXPECT_LE(store.bytes_read() - before, kBlock * 6 + 8192);
  const auto none = LoadNewest(store, kRun, std::vector<std::string>{"b", "layer.*"});
  EXPECT_EQ(none.status().code(), Code::kNotFound);
  EXPECT_NE(none.status().message().find("\"layer.*\""), std::string::npos);
}

// A manifest of one tensor [4, 6] with these boxes, and one file.
Manifest Of(const std::vector<Region>& regions) {
  ManifestBuilder builder({});
  builder.AddFile("f", 4096, std::vector<std::uint32_t>{0});
  builder.AddTensor("w", "F32", std::vector<std::uint64_t>{4, 6});
  for (const Region& region : regions) builder.AddBox({.region = region});
  auto manifest = builder.Finish();
  EXPECT_TRUE(manifest.ok());
  return *manifest;
}

TEST(Plan, ProvesCoverageBeforeTheFirstReadAndNamesTheMissingBox) {
  using E = std::vector<std::uint64_t>;
  const E zero = {0, 0}, low = {2, 6}, middle = {2, 0}, part = {2, 5}, all = {4, 6};
  const std::vector<StagedTensor> wanted = {WholeTensor("w", "F32", {4, 6})};
  EXPECT_TRUE(LoadPlan::Make(Of({{zero, low}, {middle, low}}), wanted).ok());
  const auto hole = LoadPlan::Make(Of({{zero, low}, {middle, part}}), wanted);
  EXPECT_EQ(hole.status().code(), Code::kInvalid);
  EXPECT_NE(hole.status().message().find(
                "tensor \"w\": the shards hold 22 of the 24 elements of the global shape [4, 6]; "
                "nothing holds the box at [2, 5] of shape [2, 1]"),
            std::string::npos)
      << hole.status().message();
  const auto twice = LoadPlan::Make(Of({{zero, all}, {middle, part}}), wanted);
  EXPECT_NE(twice.status().message().find("overlap"), std::string::npos);
  EXPECT_FALSE(LoadPlan::Make(Of({}), wanted).ok());
}

TEST(Plan, RefusesWhatTheCheckpointHasNotOrHasOtherwise) {
  using E = std::vector<std::uint64_t>;
  const E zero = {0, 0}, all = {4, 6};
  const Manifest manifest = Of({{zero, all}});
  const auto why = [&](const StagedTensor& want) {
    return LoadPlan::Make(manifest, {want}).status().message();
  };
  EXPECT_NE(why(WholeTensor("x", "F32", {4, 6})).find("no tensor \"x\""), std::string::npos);
  EXPECT_NE(why(WholeTensor("w", "F16", {4, 6})).find("is F32 [4, 6] in the checkpoint"),
            std::string::npos);
  EXPECT_NE(why(WholeTensor("w", "F32", {6, 4})).find("and F32 [6, 4] is wanted"),
            std::string::npos);
}

TEST(Plan, APatternThatMatchesNoneIsAnErrorUnlessAnEmptyOneAllowsIt) {
  using E = std::vector<std::uint64_t>;
  const E zero = {0, 0}, all = {4, 6};
  const Manifest manifest = Of({{zero, all}});
  EXPECT_EQ(WholeTensors(manifest, std::vector<std::string>{"x*"}).status().message(),
            "no tensor of the checkpoint matches \"x*\"; it has 1 tensors, such as \"w\"");
  EXPECT_TRUE(WholeTensors(manifest, std::vector<std::string>{"x*", ""})->empty());
  EXPECT_EQ(WholeTensors(manifest, std::vector<std::string>{"w*", ""})->size(), 1U);
}

}  // namespace
}  // namespace muster::checkpoint
