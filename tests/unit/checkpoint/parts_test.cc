// A node's local store, and what is moved from it.
#include "runtime/checkpoint/parts.h"

#include <gtest/gtest.h>

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

TEST(Parts, AFlippedBitOnTheLocalDiskNeverReachesTheShare) {
  FaultyStore local = LocalStore();
  const auto part = Write(local);
  ASSERT_TRUE(part.ok());
  std::string& bytes = local.Bytes(FolderOf(kRun, kSave) + "/" + part->report.file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  FaultyStore shared;
  MustClaim(shared, 1);
  const Status moved = Move(local, shared, *part, false);
  EXPECT_EQ(moved.code(), Code::kDataLoss);
  EXPECT_NE(moved.message().find(part->report.file + ": MiB 0"), std::string::npos)
      << moved.message();
  for (const std::string& file : shared.Files()) {
    EXPECT_EQ(file.find(".safetensors"), std::string::npos) << file;
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
  FaultyStore local = LocalStore();
  ASSERT_TRUE(Write(local).ok());
  std::string& bytes = local.Bytes(FolderOf(kRun, kSave) + "/part-00000-of-00001.muster");
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 1);
  EXPECT_TRUE(MustFind(local).empty());
  EXPECT_TRUE(local.Files().empty()) << local.Files().front();
}

}  // namespace
}  // namespace muster::checkpoint
