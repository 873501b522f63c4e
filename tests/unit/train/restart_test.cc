#include <gtest/gtest.h>

#include <numeric>
#include <set>

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

TEST(HostState, SurvivesItsRoundTripToTheLastBit) {
  const HostState state{.facts = {{"seed", "42"}, {"data_crc32c", "9f31c2d4"}},
                        .step = 97,
                        .loss_ema = 2.7132459871230984};
  const auto decoded = DecodeHostState(EncodeHostState(state));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, state);
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
  float* const to[] = {restored[0].data(), restored[1].data(), restored[2].data()};
  ASSERT_TRUE(RestoreTensors(saved.checkpoint, SomeLayout(), to).ok());
  EXPECT_EQ(restored, arrays);
}

TEST(Checkpoint, RestoreRefusesAnotherModelsTensors) {
  std::vector<std::vector<float>> arrays(3, std::vector<float>(SomeLayout().elements()));
  float* const to[] = {arrays[0].data(), arrays[1].data(), arrays[2].data()};
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
