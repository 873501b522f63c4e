#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "runtime/checkpoint/plan.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/host_state.h"
#include "runtime/train/restore.h"
#include "runtime/train/sampler.h"
#include "tests/fakes/commit_store.h"

namespace muster {
namespace {

TEST(Restore, TakesTheNewestWholeStateOfAnyNode) {
  const std::int64_t nodes[] = {-1, 41, 42, 42};
  const RestorePlan plan = DecideRestore(nodes);
  EXPECT_EQ(plan.from, RestorePlan::From::kMemory);
  EXPECT_EQ(plan.step, 42U);
  EXPECT_EQ(plan.node, 2U);
  EXPECT_FALSE(plan.everywhere);
  const std::int64_t equal[] = {7, 7};
  EXPECT_TRUE(DecideRestore(equal).everywhere);
}

TEST(Restore, FallsBackToTheCommitWhenNoMemoryIsWhole) {
  const std::int64_t nodes[] = {-1, -1};
  EXPECT_EQ(DecideRestore(nodes).from, RestorePlan::From::kCommitOrStart);
}

TEST(Restore, ShardedItIsTheMemoryOfAllNodesOrOfNone) {
  const std::int64_t nodes[] = {41, 42};
  EXPECT_EQ(DecideRestore(nodes, true).from, RestorePlan::From::kCommitOrStart);
  const std::int64_t equal[] = {42, 42};
  EXPECT_EQ(DecideRestore(equal, true).from, RestorePlan::From::kMemory);
}

TEST(HostState, SurvivesItsRoundTripToTheLastBit) {
  HostState state{.facts = {{"seed", "42"}, {"data_crc32c", "9f31c2d4"}},
                  .step = 97,
                  .loss_ema = 2.7132459871230984};
  EXPECT_EQ(EncodeHostState(state).find("loss_scale"), std::string::npos);
  for (const bool scaled : {false, true}) {
    if (scaled) state.skipped = 3, state.loss_scale = 512, state.good_steps = 7;
    const auto decoded = DecodeHostState(EncodeHostState(state));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, state);
  }
}

TEST(HostState, RefusesWhatItDidNotWrite) {
  EXPECT_EQ(DecodeHostState("").status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeHostState("[1]").status().code(), Code::kDataLoss);
  EXPECT_EQ(DecodeHostState(R"({"format":2,"run":{},"step":1,"loss_ema":0})").status().code(),
            Code::kUnimplemented);
}

TEST(HostState, AnotherTextIsAnErrorThatNamesBothCrcs) {
  const Status status = CheckSameRun({{"data_crc32c", "9f31c2d4"}, {"seed", "42"}},
                                     {{"data_crc32c", "00112233"}, {"seed", "42"}});
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("9f31c2d4"), std::string::npos);
  EXPECT_NE(status.message().find("00112233"), std::string::npos);
  EXPECT_EQ(status.message().find("seed"), std::string::npos);
  EXPECT_NE(Fingerprint({{"a", "1"}}), Fingerprint({{"a", "2"}}));
}

TEST(HostState, AnotherProgramsCheckpointPromisesNothing) {
  const auto theirs = DecodeHostState(R"({"format":1,"run":{},"step":7,"loss_ema":3.5})");
  ASSERT_TRUE(theirs.ok());
  EXPECT_TRUE(CheckSameRun(theirs->facts, {{"seed", "42"}}).ok());
  EXPECT_FALSE(CheckSameRun({{"seed", "42"}}, {}).ok());
}

const Layout& SomeLayout() {
  static const Layout kLayout({{.name = "a", .shape = {10, 10}},
                               {.name = "b", .shape = {33}},
                               {.name = "c", .shape = {40, 5}}});
  return kLayout;
}

// Saved by one writer, as these tensors.
checkpoint::Manifest SaveAll(checkpoint::CommitStore& store,
                             const std::vector<std::vector<float>>& arrays,
                             const std::function<void(std::vector<link::StagedTensor>&)>& change) {
  std::vector<link::StagedTensor> tensors;
  std::vector<float> bytes;
  for (const CheckpointTensor& tensor : CheckpointTensors(SomeLayout())) {
    const float* from = arrays[tensor.array].data() + tensor.offset;
    bytes.insert(bytes.end(), from, from + tensor.elements);
    tensors.push_back(tensor.tensor);
  }
  if (change) change(tensors);
  store.Save(0, 1, tensors, std::as_bytes(std::span(bytes)), "");
  const auto manifest = store.OpenNewest();
  EXPECT_TRUE(manifest.ok() && *manifest);
  return **manifest;
}

// In parts of the arrays, as nodes with ZeRO-1 have them.
TEST(Checkpoint, RestoreGivesBackEveryTensor) {
  std::vector<std::vector<float>> arrays(3, std::vector<float>(SomeLayout().elements()));
  float next = 0;
  for (const CheckpointTensor& tensor : CheckpointTensors(SomeLayout())) {
    float* at = arrays[tensor.array].data() + tensor.offset;
    std::iota(at, at + tensor.elements, next += 1000);
  }
  checkpoint::CommitStore store(1);
  const checkpoint::Manifest manifest = SaveAll(store, arrays, nullptr);
  EXPECT_TRUE(CheckSameModel(manifest, SomeLayout()).ok());
  std::vector<std::vector<float>> restored(3, std::vector<float>(SomeLayout().elements()));
  const std::size_t elements = SomeLayout().elements();
  for (std::size_t begin = 0; begin < elements; begin += 57) {
    const Range range = {begin, std::min(begin + 57, elements)};
    ArrayPart to[3];
    for (std::size_t i = 0; i < 3; ++i) to[i] = {restored[i].data() + begin, range};
    const RestoreTargets targets = TargetsOf(SomeLayout(), to);
    const auto plan = checkpoint::LoadPlan::Make(manifest, targets.boxes);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const checkpoint::ManifestFile file = manifest.file(0);
    const auto bytes = store.Read(manifest.save(), std::string(file.name), file.size, 0, file.crcs);
    ASSERT_TRUE(bytes.ok());
    plan->Scatter(0, 0, *bytes, targets.into);
  }
  EXPECT_EQ(restored, arrays);
}

TEST(Checkpoint, AnotherModelsTensorsAreRefusedByName) {
  const std::vector<std::vector<float>> arrays(3, std::vector<float>(SomeLayout().elements()));
  const auto why = [&](const std::function<void(std::vector<link::StagedTensor>&)>& change) {
    checkpoint::CommitStore store(1);
    const Status status = CheckSameModel(SaveAll(store, arrays, change), SomeLayout());
    EXPECT_EQ(status.code(), Code::kInvalid);
    return status.message();
  };
  EXPECT_NE(why([](auto& tensors) { tensors[4].name = "another"; }).find("no tensor "),
            std::string::npos);
  const auto turn = [](auto& tensors) {
    for (auto& tensor : tensors) {
      if (tensor.name == "c") tensor.shape = tensor.global_shape = {5, 40};
    }
  };
  EXPECT_NE(why(turn).find("another shape or type for c"), std::string::npos);
  EXPECT_NE(why([](auto& tensors) {
              tensors.push_back(checkpoint::WholeTensor("more", "F32", {0}));
            }).find("has 10 tensors, this model 9"),
            std::string::npos);
}

// Cut anywhere, also inside rows: the boxes of all parts are every tensor once, and their bytes the
// runs'.
TEST(Checkpoint, ShardsOfAnyRangesTileEveryTensorWithTheirOwnBytes) {
  const Layout layout({{.name = "cube", .shape = {5, 7, 11}},
                       {.name = "odd", .shape = {33}},
                       {.name = "flat", .shape = {40, 5}}});
  std::vector<float> values(layout.elements());
  std::iota(values.begin(), values.end(), 1.0F);
  for (const std::size_t step : {1U, 13U, 77U, 150U, 400U, 10000U}) {
    std::map<std::string, std::vector<link::StagedTensor>> boxes;
    std::map<std::string, std::vector<float>> whole;
    for (std::size_t begin = 0; begin < layout.elements(); begin += step) {
      const CheckpointShard shard =
          ShardOfRange(layout, {begin, std::min(begin + step, layout.elements())});
      std::vector<float> bytes;
      for (const CheckpointShard::Run& run : shard.runs) {
        const float* from = values.data() + run.offset;
        bytes.insert(bytes.end(), from, from + run.elements);
      }
      EXPECT_EQ(checkpoint::TotalBytes(shard.boxes), shard.bytes());
      std::span<const std::byte> left = std::as_bytes(std::span(bytes));
      for (const link::StagedTensor& box : shard.boxes) {
        boxes[box.name].push_back(box);
        auto& into = whole[box.name];
        into.resize(checkpoint::BoxBytes(checkpoint::WholeTensor("", "F32", box.global_shape)) /
                    sizeof(float));
        checkpoint::CopyIntoWhole(box, 0, left.first(checkpoint::BoxBytes(box)),
                                  std::as_writable_bytes(std::span(into)));
        left = left.subspan(checkpoint::BoxBytes(box));
      }
    }
    EXPECT_EQ(boxes.size(), 9U);  // Three arrays.
    for (const CheckpointTensor& tensor : CheckpointTensors(layout)) {
      const Status tiled = checkpoint::CheckTiling(boxes[tensor.tensor.name]);
      EXPECT_TRUE(tiled.ok()) << tiled.message();
      const std::vector<float>& found = whole[tensor.tensor.name];
      EXPECT_TRUE(std::equal(found.begin(), found.end(),
                             values.begin() + static_cast<std::ptrdiff_t>(tensor.offset)))
          << tensor.tensor.name << " in steps of " << step;
    }
  }
}

TEST(Sampler, IsAFunctionOfSeedStepAndMicroBatch) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t step = 0; step < 100; ++step) {
    for (std::uint32_t m = 0; m < 16; ++m) {
      const std::uint64_t index = SampleIndex(1, step, m, 1'000'000'000);
      EXPECT_LT(index, 1'000'000'000U);
      EXPECT_EQ(index, SampleIndex(1, step, m, 1'000'000'000));
      seen.insert(index);
    }
  }
  EXPECT_GT(seen.size(), 1590U);  // Of 1600: it does not repeat itself.
  EXPECT_NE(SampleIndex(1, 0, 0, 1U << 30U), SampleIndex(2, 0, 0, 1U << 30U));
  EXPECT_EQ(SampleIndex(1, 5, 5, 1), 0U);
}

TEST(Sampler, NormalHasMeanZeroAndVarianceOne) {
  double sum = 0;
  double squares = 0;
  constexpr int kDraws = 100000;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const double x = static_cast<double>(RandomNormal(3, 0, i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.02);
  EXPECT_NEAR(squares / kDraws, 1, 0.02);
}

}  // namespace
}  // namespace muster
