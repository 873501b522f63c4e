// A small run to save and to load: its state at a step is a function of the step, so that a mix of
// two checkpoints can never pass for one.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/inspect.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/whole.h"

namespace muster::checkpoint {

inline constexpr char kRun[] = "run";

// By name, as loads have them.  Mixed element sizes: the order in a shard file is not the order in
// memory.
inline std::vector<StagedTensor> SampleTensors() {
  return {WholeTensor("count", "I64", {}), WholeTensor("half", "F16", {3, 5}),
          WholeTensor("none", "F32", {0, 4}), WholeTensor("weights", "F32", {7, 4})};
}

inline std::vector<std::byte> SampleBytes(std::uint64_t step) {
  std::vector<std::byte> bytes(TotalBytes(SampleTensors()));
  std::uint64_t x = step * 0x9e3779b97f4a7c15U + 1;
  for (std::byte& byte : bytes) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(x >> 56U);
  }
  return bytes;
}

inline std::string SampleState(std::uint64_t step) {
  return "{\"sample\":" + std::to_string(step) + "}";
}

// The shards of one save, by `nodes` writers.  `again`: after some that died over it.
inline Result<CommitOrder> WriteStep(Store& store, std::uint64_t generation, std::uint64_t step,
                                     std::uint32_t nodes, std::uint64_t nonce = 0xabc,
                                     bool again = false) {
  const SaveId save{.generation = generation, .step = step, .nonce = nonce};
  const auto tensors = SampleTensors();
  const auto bytes = SampleBytes(step);
  CommitOrder order{.run = kRun,
                    .save = save,
                    .nodes = nodes,
                    .texts = {.host_state = SampleState(step),
                              .topology = "{\"nodes\":" + std::to_string(nodes) + "}"},
                    .time_ms = again ? 2000 : 1000,
                    .again = again};
  for (std::uint32_t node = 0; node < nodes; ++node) {
    const Share share = ShareOf(tensors, node, nodes);
    auto report =
        WriteShard(store, {.run = kRun, .save = save, .node = node, .nodes = nodes, .again = again},
                   share.boxes, std::span(bytes).subspan(share.begin, share.end - share.begin));
    if (!report.ok()) return std::move(report).status();
    order.reports.push_back(*std::move(report));
  }
  return order;
}

inline Status SaveStep(Store& store, std::uint64_t generation, std::uint64_t step,
                       std::uint32_t nodes, std::uint64_t nonce = 0xabc, bool again = false) {
  const auto order = WriteStep(store, generation, step, nodes, nonce, again);
  if (!order.ok()) return order.status();
  return Commit(store, *order).status();
}

// The step that a load gives, whole; 0 if there is none.
inline Result<std::uint64_t> LoadStep(Store& store) {
  auto loaded = LoadNewest(store, kRun);
  if (!loaded.ok()) return std::move(loaded).status();
  if (!loaded->has_value()) return std::uint64_t{0};
  const LoadedCheckpoint& checkpoint = **loaded;
  EXPECT_TRUE(checkpoint.tensors == SampleTensors());
  EXPECT_TRUE(checkpoint.bytes == SampleBytes(checkpoint.step)) << "a mix, at " << checkpoint.step;
  EXPECT_EQ(checkpoint.host_state, SampleState(checkpoint.step));
  return checkpoint.step;
}

inline std::uint64_t MustClaim(Store& store, std::uint64_t nonce) {
  const auto generation = Claim(store, kRun, nonce, /*now_ms=*/1000);
  EXPECT_TRUE(generation.ok()) << generation.status().message();
  return generation.ok() ? *generation : 0;
}

// All that a store may never come to: every commit reads back whole.
inline void ExpectEveryCommitWhole(Store& store) {
  const auto commits = ListCommits(store, kRun);
  ASSERT_TRUE(commits.ok());
  for (const CommitId& commit : *commits) {
    for (const Damage& damage : Verify(store, kRun, commit).damage) {
      ADD_FAILURE() << CommitName(commit) << ": " << damage.path << " MiB " << damage.mib << ": "
                    << damage.what;
    }
  }
}

}  // namespace muster::checkpoint
