#include "runtime/comm/canonical.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

namespace muster {
namespace {

constexpr std::size_t kElements = 3001;  // Not a multiple of any chunk or vector.

using Vector = std::vector<float>;

std::vector<Vector> RandomLeaves(std::uint32_t leaves, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> exponent(-20, 20);
  std::vector<Vector> values(leaves, Vector(kElements));
  for (Vector& leaf : values) {
    for (float& x : leaf) x = std::ldexp(exponent(random), static_cast<int>(exponent(random)));
  }
  return values;
}

// The definition, element by element.
float TreeSum(const std::vector<Vector>& leaves, std::size_t element, std::size_t begin,
              std::size_t width) {
  if (width == 1) return leaves[begin][element];
  const float left = TreeSum(leaves, element, begin, width / 2);
  if (begin + width / 2 >= leaves.size()) return left;
  return left + TreeSum(leaves, element, begin + width / 2, width / 2);
}

bool SameBits(const Vector& a, const Vector& b) {
  return std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

struct Part {
  std::vector<Subtree> subtrees;
  std::vector<Vector> values;
};

Part SumRun(const std::vector<Vector>& leaves, MicroBatches run) {
  const auto count = static_cast<std::uint32_t>(leaves.size());
  const AccumulatePlan plan = PlanAccumulation(run, count);
  std::vector<Vector> slots(plan.slots_used, Vector(kElements));
  for (const AccumulatePlan::Step& step : plan.steps) {
    if (step.compute) {
      slots[step.slot] = leaves[step.micro_batch];
    } else {
      AddKernel(slots[step.slot].data(), slots[step.slot].data(), slots[step.from].data(),
                kElements);
    }
  }
  Part part{.subtrees = plan.subtrees};
  for (const std::uint32_t slot : plan.slots) part.values.push_back(slots[slot]);
  return part;
}

// What a node or the world makes of its parts, as `targets`.
Part CombineParts(const std::vector<Part>& parts, std::vector<Subtree> targets,
                  std::uint32_t leaves) {
  std::vector<Subtree> sources;
  std::vector<const float*> values;
  for (const Part& part : parts) {
    sources.insert(sources.end(), part.subtrees.begin(), part.subtrees.end());
    for (const Vector& value : part.values) values.push_back(value.data());
  }
  Part combined{.subtrees = std::move(targets)};
  combined.values.assign(combined.subtrees.size(), Vector(kElements));
  std::vector<float*> outputs;
  for (Vector& value : combined.values) outputs.push_back(value.data());
  CombinePlan(sources, combined.subtrees, leaves).Combine(values, outputs, kElements);
  return combined;
}

Vector SumOver(const std::vector<Vector>& leaves, std::uint32_t nodes, std::uint32_t per_node) {
  const auto count = static_cast<std::uint32_t>(leaves.size());
  const std::uint32_t ranks = nodes * per_node;
  std::vector<Part> node_parts;
  for (std::uint32_t node = 0; node < nodes; ++node) {
    std::vector<Part> parts;
    MicroBatches node_run{.begin = RunOf(node * per_node, ranks, count).begin};
    for (std::uint32_t local = 0; local < per_node; ++local) {
      const MicroBatches run = RunOf(node * per_node + local, ranks, count);
      node_run.end = run.end;
      parts.push_back(SumRun(leaves, run));
    }
    node_parts.push_back(CombineParts(parts, MaximalSubtrees(node_run, count), count));
  }
  return CombineParts(node_parts, MaximalSubtrees({0, count}, count), count).values[0];
}

TEST(Canonical, SumHasTheSameBitsHoweverSixteenMicroBatchesAreSplit) {
  const std::vector<Vector> leaves = RandomLeaves(16, 1);
  Vector expected(kElements);
  for (std::size_t i = 0; i < kElements; ++i) expected[i] = TreeSum(leaves, i, 0, 16);
  const std::pair<std::uint32_t, std::uint32_t> shapes[] = {
      {1, 1}, {2, 1}, {3, 1},  {5, 1}, {7, 1}, {8, 1}, {16, 1}, {1, 2}, {1, 3}, {1, 5},
      {1, 7}, {1, 8}, {1, 16}, {2, 2}, {2, 4}, {2, 8}, {3, 2},  {3, 5}, {5, 3}, {7, 2}};
  for (const auto& [nodes, per_node] : shapes) {
    const Vector sum = SumOver(leaves, nodes, per_node);
    EXPECT_TRUE(SameBits(sum, expected)) << nodes << " nodes x " << per_node;
  }
}

TEST(Canonical, SumHasTheSameBitsForAnyNumberOfMicroBatches) {
  for (std::uint32_t count = 1; count <= 21; ++count) {
    const std::vector<Vector> leaves = RandomLeaves(count, count);
    Vector expected(kElements);
    for (std::size_t i = 0; i < kElements; ++i) expected[i] = TreeSum(leaves, i, 0, 32);
    for (std::uint32_t ranks = 1; ranks <= count; ++ranks) {
      const Vector sum = SumOver(leaves, ranks, 1);
      ASSERT_TRUE(SameBits(sum, expected)) << count << " micro-batches over " << ranks;
    }
  }
}

TEST(Canonical, AnOutputMayLieInTheMemoryOfItsOwnSource) {
  std::vector<Vector> leaves = RandomLeaves(4, 3);
  const float expected = TreeSum(leaves, kElements - 1, 0, 4);
  const std::vector<Subtree> sources = {{0, 0}, {0, 1}, {0, 2}, {0, 3}};
  const float* values[] = {leaves[0].data(), leaves[1].data(), leaves[2].data(), leaves[3].data()};
  float* outputs[] = {leaves[0].data()};
  CombinePlan(sources, {{2, 0}}, 4).Combine(values, outputs, kElements);
  EXPECT_EQ(leaves[0][kElements - 1], expected);
}

TEST(Canonical, RunsAreContiguousAndDifferByAtMostOne) {
  for (std::uint32_t ranks = 1; ranks <= 16; ++ranks) {
    std::uint32_t next = 0;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      const auto run = RunOf(rank, ranks, 16);
      EXPECT_EQ(run.begin, next);
      EXPECT_GE(run.size(), 16 / ranks);
      EXPECT_LE(run.size(), (16 + ranks - 1) / ranks);
      next = run.end;
    }
    EXPECT_EQ(next, 16U);
  }
}

TEST(Canonical, AccumulatingNeedsFewSlots) {
  EXPECT_EQ(PlanAccumulation({0, 16}, 16).slots_used, 5U);
  EXPECT_EQ(PlanAccumulation({3, 4}, 16).slots_used, 1U);
  EXPECT_EQ(MaximalSubtrees({1, 15}, 16).size(), 6U);
}

}  // namespace
}  // namespace muster
