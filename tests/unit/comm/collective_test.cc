#include "runtime/comm/collective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/comm/mesh.h"
#include "runtime/comm/reduce.h"
#include "tests/unit/comm/conformance.h"

namespace muster {
namespace {

Signature AllReduceOf(std::uint64_t count) {
  return {.kind = Collective::Kind::kAllReduce, .dtype = DType::kF32, .count = count};
}

TEST(Agreement, NamesEachRanksCall) {
  const Signature broadcast{
      .kind = Collective::Kind::kBroadcast, .dtype = DType::kF32, .root = 0, .count = 1024};
  const Signature of_four[] = {broadcast, broadcast, AllReduceOf(1024), broadcast};
  EXPECT_EQ(CheckAgreement(of_four, 7).message(),
            "the ranks disagree on call 7 of their group: rank 2: all_reduce f32[1024] sum, all "
            "others: broadcast f32[1024] from 0");
  const Signature of_three[] = {AllReduceOf(1), AllReduceOf(2), AllReduceOf(2)};
  EXPECT_NE(CheckAgreement(of_three, 1).message().find("rank 0: all_reduce f32[1] sum, all others"),
            std::string::npos);
  EXPECT_TRUE(CheckAgreement({of_three + 1, 2}, 1).ok());
}

TEST(Agreement, WhatDiffersHasAnotherHash) {
  std::vector<Signature> all;
  for (const std::uint64_t count : {0U, 1U, 2U, 65'536U}) all.push_back(AllReduceOf(count));
  for (Signature changed : std::vector(all)) {
    changed.op = ReduceOp::kMax;
    all.push_back(changed);
    changed.dtype = DType::kBF16;
    all.push_back(changed);
    changed.root = 0;
    all.push_back(changed);
    changed.kind = Collective::Kind::kReduce;
    all.push_back(changed);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(Hash(all[i]), Hash(all[j])) << i << " " << j;
  }
}

// All 65536 values there and back, and what lies between two of them.
TEST(Reduction, SixteenBitFloatsAreRoundedToNearestEven) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    std::vector<std::uint16_t> all(65'536);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    std::vector<float> wide(all.size());
    const auto widen = dtype == DType::kF16 ? kernels::WidenF16 : kernels::WidenBF16;
    const auto narrow = dtype == DType::kF16 ? kernels::NarrowF16 : kernels::NarrowBF16;
    widen(wide.data(), all.data(), all.size());
    std::vector<float> values;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double value = testing::ValueOf(dtype, all[i]);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(wide[i])) << i;
        continue;
      }
      ASSERT_EQ(static_cast<double>(wide[i]), value) << NameOf(dtype) << " " << i;
      values.push_back(wide[i]);
      for (const double part : {0.25, 0.5, 0.75}) {
        const double next = testing::ValueOf(dtype, static_cast<std::uint16_t>(i + 1));
        if (std::isfinite(next) && std::isfinite(value)) {
          values.push_back(static_cast<float>(value + part * (next - value)));
        }
      }
    }
    values.insert(values.end(), {65'519.0F, 65'520.0F, 1e30F, -1e30F, 1e-30F, 3.4e38F, 1e-45F});
    std::vector<std::uint16_t> rounded(values.size());
    narrow(rounded.data(), values.data(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(rounded[i], testing::Rounded(dtype, static_cast<double>(values[i])))
          << NameOf(dtype) << " " << values[i];
    }
  }
}

TEST(Reduction, ANanWinsMinAndMax) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float left[] = {1, kNan, 1, -2};
  const float right[] = {kNan, 1, 2, -1};
  const void* const inputs[] = {left, right};
  for (const ReduceOp op : {ReduceOp::kMin, ReduceOp::kMax}) {
    float out[4];
    Reduction{.op = op, .ranks = 2}.Run(inputs, out, 4);
    EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1]));
    EXPECT_EQ(out[2], op == ReduceOp::kMin ? 1 : 2);
    EXPECT_EQ(out[3], op == ReduceOp::kMin ? -2 : -1);
  }
}

TEST(Mesh, NumbersTheLastDimensionFastest) {
  const std::vector<MeshDimension> dimensions = {{"node", 2}, {"rank", 4}};
  EXPECT_EQ(MeshCoordinates(dimensions, 6), (std::vector{1, 2}));
  EXPECT_TRUE(CheckMesh(dimensions, 8).ok());
}

TEST(Mesh, RefusesWhatIsNotTheGroup) {
  const auto why = [](std::vector<MeshDimension> dimensions, int ranks) {
    return CheckMesh(dimensions, ranks).message();
  };
  EXPECT_EQ(why({{"node", 2}, {"rank", 3}}, 8), "mesh: 2 x 3 is not the group's 8 ranks");
  EXPECT_NE(why({{"a", 2}, {"a", 4}}, 8).find("a name of its own, not 'a'"), std::string::npos);
  EXPECT_NE(why({{"a", 0}}, 8).find("'a' has 0 ranks; there are 8"), std::string::npos);
  EXPECT_NE(why({}, 8).find("no dimension"), std::string::npos);
}

}  // namespace
}  // namespace muster
