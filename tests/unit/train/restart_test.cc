#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "runtime/checkpoint/box.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/host_state.h"
#include "runtime/train/restore.h"
#include "runtime/train/sampler.h"

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

const Layout& SomeLayout() {
  static const Layout kLayout({{.name = "a", .shape = {10, 10}},
                               {.name = "b", .shape = {33}},
                               {.name = "c", .shape = {40, 5}}});
  return kLayout;
}

struct Saved {
  std::vector<float> bytes;
  LoadedCheckpoint checkpoint;
};

Saved SaveAll(const std::vector<std::vector<float>>& arrays) {
  Saved saved;
  for (const CheckpointTensor& tensor : CheckpointTensors(SomeLayout())) {
    const float* from = arrays[tensor.array].data() + tensor.offset;
    saved.bytes.insert(saved.bytes.end(), from, from + tensor.elements);
    saved.checkpoint.tensors.push_back(tensor.tensor);
  }
  saved.checkpoint.bytes = std::as_bytes(std::span(saved.bytes));
  return saved;
}

TEST(Checkpoint, RestoreGivesBackEveryTensor) {
  std::vector<std::vector<float>> arrays(3, std::vector<float>(SomeLayout().elements()));
  float next = 0;
  for (const CheckpointTensor& tensor : CheckpointTensors(SomeLayout())) {
    float* at = arrays[tensor.array].data() + tensor.offset;
    std::iota(at, at + tensor.elements, next += 1000);
  }
  const Saved saved = SaveAll(arrays);
  std::vector<std::vector<float>> restored(3, std::vector<float>(SomeLayout().elements()));
  ArrayPart to[3];
  for (std::size_t i = 0; i < 3; ++i) to[i] = {restored[i].data(), {0, restored[i].size()}};
  ASSERT_TRUE(RestoreTensors(saved.checkpoint, SomeLayout(), to).ok());
  EXPECT_EQ(restored, arrays);
}

TEST(Checkpoint, RestoreRefusesAnotherModelsTensors) {
  std::vector<std::vector<float>> arrays(3, std::vector<float>(SomeLayout().elements()));
  ArrayPart to[3];
  for (std::size_t i = 0; i < 3; ++i) to[i] = {arrays[i].data(), {0, arrays[i].size()}};
  Saved renamed = SaveAll(arrays);
  renamed.checkpoint.tensors[4].name = "another";
  EXPECT_EQ(RestoreTensors(renamed.checkpoint, SomeLayout(), to).code(), Code::kInvalid);
  Saved reshaped = SaveAll(arrays);
  reshaped.checkpoint.tensors[0].shape = {5, 20};
  EXPECT_EQ(RestoreTensors(reshaped.checkpoint, SomeLayout(), to).code(), Code::kInvalid);
  Saved cut = SaveAll(arrays);
  cut.checkpoint.bytes = cut.checkpoint.bytes.first(100);
  EXPECT_EQ(RestoreTensors(cut.checkpoint, SomeLayout(), to).code(), Code::kDataLoss);
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
