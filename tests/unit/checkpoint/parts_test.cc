// A node's local store, and what is moved from it.
#include "runtime/checkpoint/parts.h"

#include <gtest/gtest.h>

#include "runtime/checkpoint/adopt.h"
#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

constexpr SaveId kSave{.generation = 1, .step = 30, .nonce = 5};

Result<mover::Part> Write(Store& local) {
  const auto tensors = SampleTensors();
  const auto bytes = SampleBytes(kSave.step);
  auto report = WriteShard(local, {.run = kRun, .save = kSave}, tensors, bytes);
  if (!report.ok()) return std::move(report).status();
  mover::Part part{
      .save = {.generation = kSave.generation, .step = kSave.step, .nonce = kSave.nonce},
      .report = *std::move(report),
      .host_state = SampleState(kSave.step)};
  RETURN_IF_ERROR(KeepPart(local, kRun, part));
  return part;
}

std::vector<mover::Part> MustFind(Store& local) {
  auto parts = FindParts(local, kRun);
  EXPECT_TRUE(parts.ok()) << parts.status().message();
  return parts.ok() ? *std::move(parts) : std::vector<mover::Part>();
}

FaultyStore LocalStore() {
  FaultyStore local;
  EXPECT_TRUE(MustFind(local).empty());
  return local;
}

Status Move(Store& local, Store& shared, const mover::Part& part, bool again) {
  auto moved = MovePart({local, kRun}, {shared, kRun}, part, again);
  if (!moved.ok()) return std::move(moved).status();
  EXPECT_TRUE(*moved == part.report);
  const auto record = Commit(shared, {.run = kRun,
                                      .save = kSave,
                                      .nodes = 1,
                                      .reports = {*moved},
                                      .texts = {.host_state = part.host_state},
                                      .time_ms = 1000});
  return record.ok() ? Status() : record.status();
}

// At each call of the look.
TEST(Parts, APartThatCannotBeSeenNowIsThereLater) {
  FaultyStore local = LocalStore();
  ASSERT_TRUE(Write(local).ok());
  const std::size_t before = local.calls();
  ASSERT_EQ(MustFind(local).size(), 1U);
  const std::size_t calls = local.calls() - before;
  std::size_t unseen = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    local.FailAt(call, Fault::kIo);
    const auto found = FindParts(local, kRun);
    unseen += !found.ok() || found->empty() ? 1U : 0U;
    local.Heal();
    ASSERT_EQ(MustFind(local).size(), 1U) << "after call " << call;
  }
  EXPECT_EQ(unseen, calls);
}

TEST(Parts, WhatAStoreDoesNotSayOfASaveIsAnErrorAndNotALack) {
  FaultyStore shared = LocalStore();
  ASSERT_TRUE(Write(shared).ok());
  const std::size_t before = shared.calls();
  ASSERT_EQ(FindSave(shared, kRun, kSave)->size(), 1U);
  const std::size_t calls = shared.calls() - before;
  ASSERT_GE(calls, 3U);
  for (std::size_t call = 0; call < calls; ++call) {
    shared.FailAt(call, Fault::kIo);
    EXPECT_FALSE(FindSave(shared, kRun, kSave).ok()) << "call " << call;
  }
}

// The machine dies at each call: what is found then is whole, and can be moved and loaded.
TEST(Parts, AfterACrashAPartIsThereWholeOrNotAtAll) {
  std::size_t there = 0, gone = 0;
  for (const Death death : {Death::kBefore, Death::kHalf, Death::kAfter}) {
    for (const Loss loss : {Loss::kNothing, Loss::kUnsynced, Loss::kRandom}) {
      for (std::size_t call = 0;; ++call) {
        FaultyStore local = LocalStore();
        local.DieAt(call, death);
        const bool acknowledged = Write(local).ok();
        if (!local.died()) break;
        local.Restart(loss, call);
        const auto parts = MustFind(local);
        ASSERT_LE(parts.size(), 1U);
        (parts.empty() ? gone : there) += 1;
        if (parts.empty()) {
          EXPECT_FALSE(acknowledged);
          EXPECT_TRUE(local.Files().empty()) << local.Files().front();
          continue;
        }
        FaultyStore shared;
        MustClaim(shared, 1);
        const Status moved = Move(local, shared, parts[0], false);
        ASSERT_TRUE(moved.ok()) << moved.message();
        EXPECT_EQ(*LoadStep(shared), kSave.step);
      }
    }
  }
  EXPECT_GT(there, 0U);
  EXPECT_GT(gone, 10U);
}

// A mover dies at each call of a move on the share; the next one does it again.
TEST(Parts, AMoveThatDiedIsMadeAgain) {
  FaultyStore local = LocalStore();
  const auto part = Write(local);
  ASSERT_TRUE(part.ok()) << part.status().message();
  std::size_t deaths = 0;
  for (const Death death : {Death::kBefore, Death::kHalf, Death::kAfter}) {
    for (std::size_t call = 0;; ++call, ++deaths) {
      FaultyStore shared;
      MustClaim(shared, 1);
      shared.DieAt(call, death);
      const bool moved = MovePart({local, kRun}, {shared, kRun}, *part, false).ok();
      if (!shared.died()) break;
      EXPECT_TRUE(!moved || death == Death::kAfter);
      shared.Restart(Loss::kNothing, call);
      const Status again = Move(local, shared, *part, true);
      ASSERT_TRUE(again.ok()) << call << ": " << again.message();
      EXPECT_EQ(*LoadStep(shared), kSave.step);
    }
  }
  EXPECT_GT(deaths, 10U);
}

TEST(Parts, AMoveThatFindsItsShardNamedReadsItBeforeItCounts) {
  FaultyStore local = LocalStore();
  const auto part = Write(local);
  ASSERT_TRUE(part.ok());
  FaultyStore shared;
  MustClaim(shared, 1);
  const auto move = [&] { return MovePart({local, kRun}, {shared, kRun}, *part, true).status(); };
  ASSERT_TRUE(move().ok());
  EXPECT_TRUE(move().ok());
  shared.Bytes(FolderOf(kRun, kSave) + "/" + part->report.file).back() ^= 1;
  EXPECT_EQ(move().code(), Code::kDataLoss);
}

// Its job ended before anybody could commit: each node left its part's report beside its shard.
TEST(Parts, ASaveThatEveryNodeLeftIsAdopted) {
  FaultyStore store;
  MustClaim(store, 1);
  ASSERT_TRUE(SaveStep(store, 1, 20, 2).ok());
  const auto order = WriteStep(store, 1, 30, 2, kSave.nonce);
  ASSERT_TRUE(order.ok());
  const auto keep = [&](std::uint32_t node) {
    return KeepPart(store, kRun,
                    {.save = {.generation = 1, .step = 30, .nonce = kSave.nonce},
                     .report = order->reports[node],
                     .host_state = order->texts.host_state,
                     .topology = order->texts.topology});
  };
  const auto adopt = [&](Store& of) {
    return Adopt(of, {.run = kRun, .save = kSave, .nonce = 0x77, .now_ms = 1000});
  };
  EXPECT_NE(adopt(store).status().message().find("manifest.muster is missing"), std::string::npos)
      << adopt(store).status().message();
  ASSERT_TRUE(keep(1).ok());
  EXPECT_EQ(adopt(store).status().code(), Code::kDataLoss);
  EXPECT_NE(adopt(store).status().message().find("by 1 of its 2 nodes"), std::string::npos)
      << adopt(store).status().message();
  ASSERT_TRUE(keep(0).ok());
  const auto files = store.Files();
  const auto parts = FindSave(store, kRun, kSave);
  ASSERT_TRUE(parts.ok());
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_TRUE((*parts)[0].report == order->reports[0] && (*parts)[1].report == order->reports[1]);
  EXPECT_EQ(store.Files(), files) << "looking changes nothing";

  FaultyStore damaged(store);
  std::string& shard = damaged.Bytes(FolderOf(kRun, kSave) + "/" + ShardName(1, 2));
  shard.back() = static_cast<char>(shard.back() ^ 1);
  EXPECT_EQ(adopt(damaged).status().code(), Code::kDataLoss);
  EXPECT_EQ(*LoadStep(damaged), 20U);

  ASSERT_TRUE(adopt(store).ok()) << adopt(store).status().message();
  store.Restart(Loss::kUnsynced, 0);
  EXPECT_EQ(*LoadStep(store), 30U);
  EXPECT_TRUE(Verify(store, kRun, IdOf(kSave)).damage.empty());
}

TEST(Parts, AFlippedBitOnTheLocalDiskNeverReachesTheShare) {
  FaultyStore before = LocalStore();
  const auto part = Write(before);
  ASSERT_TRUE(part.ok());
  const std::string path = FolderOf(kRun, kSave) + "/" + part->report.file;
  const std::size_t size = before.Bytes(path).size();
  for (std::size_t at = 0; at < size; at += at < 4096 ? 41 : 1) {  // Its header, then its tensors.
    FaultyStore local(before);
    std::string& bytes = local.Bytes(path);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    FaultyStore shared;
    MustClaim(shared, 1);
    const Status moved = Move(local, shared, *part, false);
    EXPECT_EQ(moved.code(), Code::kDataLoss) << at;
    EXPECT_NE(moved.message().find(part->report.file + ": MiB 0"), std::string::npos)
        << moved.message();
    for (const std::string& file : shared.Files()) {
      EXPECT_EQ(file.find(".safetensors"), std::string::npos) << file;
    }
  }
}

// A local disk that is full refuses the next save, and what is there is moved all the same.
TEST(Parts, AFullLocalDiskRefusesOnlyWhatIsNew) {
  const auto tensors = SampleTensors();
  const auto bytes = SampleBytes(40);
  const SaveId next{.generation = 1, .step = 40, .nonce = 6};
  std::size_t refused = 0;
  for (std::size_t call = 0;; ++call) {
    FaultyStore local = LocalStore();
    const auto part = Write(local);
    ASSERT_TRUE(part.ok());
    local.FailAt(call, Fault::kFull);
    const auto report = WriteShard(local, {.run = kRun, .save = next}, tensors, bytes);
    if (local.struck().empty()) break;
    if (!report.ok()) {
      ++refused;
      EXPECT_EQ(report.status().code(), Code::kExhausted);
    }
    FaultyStore shared;
    MustClaim(shared, 1);
    EXPECT_TRUE(Move(local, shared, *part, false).ok());
    EXPECT_EQ(*LoadStep(shared), kSave.step);
    const SaveId saves[] = {kSave, next};
    EXPECT_TRUE(DropParts(local, kRun, saves).ok());
    EXPECT_TRUE(local.Files().empty());
    EXPECT_TRUE(DropRun(local, kRun).ok());
  }
  EXPECT_GT(refused, 2U);
}

TEST(Parts, ATornPartIsNoPart) {
  FaultyStore before = LocalStore();
  ASSERT_TRUE(Write(before).ok());
  const std::string path = FolderOf(kRun, kSave) + "/part-00000-of-00001.muster";
  const std::size_t bytes = before.Bytes(path).size();
  ASSERT_GT(bytes, 100U);
  for (std::size_t i = 0; i < 2 * bytes; ++i) {
    FaultyStore local(before);
    std::string& part = local.Bytes(path);
    if (i < bytes) {
      part[i] = static_cast<char>(part[i] ^ (1 << (i % 8)));
    } else {
      part.resize(i - bytes);
    }
    EXPECT_TRUE(MustFind(local).empty()) << i;
    EXPECT_TRUE(local.Files().empty()) << i << local.Files().front();
  }
}

}  // namespace
}  // namespace muster::checkpoint
