// Bytes that are not what was written are found and placed, in every kind of file.
#include <gtest/gtest.h>

#include "runtime/checkpoint/crc32c.h"
#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kLarge = (3U << 20U) + 1000;  // Spans four MiB of its file.

// Generation 1 has committed steps 10 and 20 of the sample.
void Prepare(FaultyStore& store) {
  ASSERT_EQ(MustClaim(store, 1), 1U);
  ASSERT_TRUE(SaveStep(store, 1, 10, 2).ok());
  ASSERT_TRUE(SaveStep(store, 1, 20, 2).ok());
}

std::string DataPath(std::uint64_t step, const std::string& name) {
  return DataFolder(kRun) + "/" + SaveName({.generation = 1, .step = step, .nonce = 0xabc}) + "/" +
         name;
}
std::string CommitPath(std::uint64_t step) {
  return CommitsFolder(kRun) + "/" + CommitName({.generation = 1, .step = step});
}

void Replace(std::string& text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  ASSERT_NE(at, std::string::npos) << what;
  text.replace(at, what.size(), by);
}

// Gives a record whose first line was changed the CRC that belongs to it.
void Reseal(std::string& record) {
  const std::string line = record.substr(0, record.find('\n') + 1);
  record = line + "crc32c " + CrcText(Crc32c(line)) + "\n";
}

// Changes step 20's manifest, and its record to agree.
void ChangeManifest(FaultyStore& store, const std::string& what, const std::string& by) {
  std::string& text = store.Bytes(DataPath(20, kManifestName));
  Replace(text, what, by);
  auto record = ParseCommit(store.Bytes(CommitPath(20)));
  ASSERT_TRUE(record.ok());
  record->manifest_bytes = text.size();
  record->manifest_crc = Crc32c(text);
  store.Bytes(CommitPath(20)) = FormatCommit(*record);
}

TEST(Crc32c, IsTheOneOfTheStandards) {
  EXPECT_EQ(Crc32c(std::string("123456789")), 0xe3069283U);
  EXPECT_EQ(Crc32c(std::string()), 0U);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aaU);  // RFC 3720, B.4.
}

TEST(Damage, ATornCommitRecordIsPassedOverWithANote) {
  FaultyStore store;
  Prepare(store);
  std::string& record = store.Bytes(CommitPath(20));
  const std::string whole = record;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    record = whole;
    record[i] = static_cast<char>(record[i] ^ (1 << (i % 8)));
    const auto loaded = LoadNewest(store, kRun);
    ASSERT_TRUE(loaded.ok() && loaded->has_value()) << i;
    EXPECT_EQ((*loaded)->step, 10U) << i;
    ASSERT_EQ((*loaded)->notes.size(), 1U);
    EXPECT_NE((*loaded)->notes[0].find(CommitPath(20)), std::string::npos);
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    record = whole.substr(0, size);
    EXPECT_EQ(*LoadStep(store), 10U) << size;
  }
  EXPECT_NE(Summarize(store, kRun)->commits[0].problem, "");
}

TEST(Damage, WhenEveryRecordIsTornThatIsAnErrorAndNotAFreshStart) {
  FaultyStore store;
  Prepare(store);
  for (const std::uint64_t step : {10U, 20U}) store.Bytes(CommitPath(step))[5] ^= 1;
  EXPECT_EQ(LoadStep(store).status().code(), Code::kDataLoss);
}

TEST(Damage, ATornRecordsDataStayUntilItIsOldAndCostNoWholeCommit) {
  FaultyStore store;
  Prepare(store);
  store.Bytes(CommitPath(20))[5] ^= 1;
  const auto there = [&](std::uint64_t step) {
    return store.Size(DataPath(step, kManifestName)).ok();
  };
  ASSERT_TRUE(SaveStep(store, 1, 30, 1).ok());
  ASSERT_TRUE(LetGo(store, kRun, {.generation = 1, .step = 30}, 2).ok());
  EXPECT_TRUE(there(10) && there(20) && there(30));
  ASSERT_TRUE(SaveStep(store, 1, 40, 1).ok());
  ASSERT_TRUE(LetGo(store, kRun, {.generation = 1, .step = 40}, 2).ok());
  EXPECT_FALSE(there(10) || there(20));
  EXPECT_TRUE(there(30) && there(40));
}

TEST(Retention, LeavesAloneASaveThatIsStillBeingWritten) {
  FaultyStore store;
  Prepare(store);
  const SaveId next{.generation = 1, .step = 30, .nonce = 0xabc};
  const auto bytes = SampleBytes(30);
  ASSERT_TRUE(WriteShard(store, {.run = kRun, .save = next}, SampleTensors(), bytes).ok());
  ASSERT_TRUE(LetGo(store, kRun, {.generation = 1, .step = 20}, 1).ok());
  EXPECT_TRUE(store.Size(DataPath(30, ShardName(0, 1))).ok());
}

TEST(Claims, AreHigherThanEveryCommitThoughClaimsWereLost) {
  FaultyStore store;
  Prepare(store);
  ASSERT_TRUE(store.Unlink(ClaimsFolder(kRun) + "/" + ClaimName(1)).ok());
  EXPECT_EQ(MustClaim(store, 2), 2U);
}

TEST(Damage, ARecordUnderAnotherCommitsNameIsTorn) {
  FaultyStore store;
  Prepare(store);
  store.Bytes(CommitPath(20)) = std::string(store.Bytes(CommitPath(10)));
  EXPECT_EQ(*LoadStep(store), 10U);
}

TEST(Damage, InAManifestIsAnErrorThatNamesItAndNeverAnOlderCheckpoint) {
  FaultyStore store;
  Prepare(store);
  const std::string path = DataPath(20, kManifestName);
  std::string& manifest = store.Bytes(path);
  for (std::size_t i = 0; i < manifest.size(); ++i) {
    manifest[i] = static_cast<char>(manifest[i] ^ (1 << (i % 8)));
    const auto loaded = LoadStep(store);
    ASSERT_EQ(loaded.status().code(), Code::kDataLoss) << i;
    ASSERT_NE(loaded.status().message().find(path), std::string::npos);
    manifest[i] = static_cast<char>(manifest[i] ^ (1 << (i % 8)));
  }
  EXPECT_EQ(*LoadStep(store), 20U);
}

class LargeShard : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(MustClaim(store_, 1), 1U);
    const std::vector<StagedTensor> tensors = {WholeTensor("large", "U8", {kLarge})};
    std::vector<std::byte> bytes(kLarge);
    for (std::size_t i = 0; i < kLarge; ++i)
      bytes[i] = static_cast<std::byte>(i * 2654435761U >> 24U);
    for (const std::uint64_t step : {10U, 20U}) {
      ASSERT_TRUE(SaveWhole(store_, kRun, {.generation = 1, .step = step, .nonce = 0xabc},
                            {.tensors = tensors, .bytes = bytes}, 1000)
                      .ok());
    }
  }

  // One load and one verification that both say "damaged here, and only here".
  void ExpectDamage(std::uint64_t mib, const std::string& what) {
    const auto loaded = LoadNewest(store_, kRun);
    EXPECT_EQ(loaded.status().code(), Code::kDataLoss);
    EXPECT_NE(loaded.status().message().find(path_), std::string::npos);
    EXPECT_NE(loaded.status().message().find(what), std::string::npos) << loaded.status().message();
    const auto found = Verify(store_, kRun, {.generation = 1, .step = 20});
    ASSERT_FALSE(found.damage.empty());
    EXPECT_EQ(found.damage[0].path, path_);
    EXPECT_EQ(found.damage[0].mib, mib);
  }

  FaultyStore store_;
  const std::string path_ = DataPath(20, ShardName(0, 1));
};

TEST_F(LargeShard, AFlippedBitIsPlacedToItsMiB) {
  std::string& file = store_.Bytes(path_);
  ASSERT_GT(file.size(), 3U << 20U);
  std::size_t flips = 0;
  for (std::size_t at = 0; at < file.size(); at += 200'003, ++flips) {
    file[at] = static_cast<char>(file[at] ^ 0x10);
    ExpectDamage(at >> 20U, "MiB " + std::to_string(at >> 20U));
    EXPECT_EQ(Verify(store_, kRun, {.generation = 1, .step = 20}).damage.size(), 1U);
    file[at] = static_cast<char>(file[at] ^ 0x10);
  }
  EXPECT_GT(flips, 12U);
  EXPECT_TRUE(LoadNewest(store_, kRun).ok());
}

TEST_F(LargeShard, DamageInSeveralPlacesIsAllFound) {
  std::string& file = store_.Bytes(path_);
  for (const std::size_t at : {std::size_t{5}, std::size_t{1} << 20U, file.size() - 1}) {
    file[at] = static_cast<char>(file[at] ^ 1);
  }
  const auto damage = Verify(store_, kRun, {.generation = 1, .step = 20}).damage;
  ASSERT_EQ(damage.size(), 3U);
  EXPECT_EQ(damage[0].mib, 0U);
  EXPECT_EQ(damage[1].mib, 1U);
  EXPECT_EQ(damage[2].mib, 3U);
}

TEST_F(LargeShard, ATruncatedALongerAndAMissingShardAreErrors) {
  std::string& file = store_.Bytes(path_);
  const std::string whole = file;
  file.resize((1U << 20U) + 17);
  ExpectDamage(1, "bytes, should have");
  file = whole + "x";
  ExpectDamage(3, "bytes, should have");
  file.clear();
  ExpectDamage(0, "bytes, should have");
  ASSERT_TRUE(store_.Unlink(path_).ok());
  const auto loaded = LoadNewest(store_, kRun);
  EXPECT_EQ(loaded.status().code(), Code::kNotFound) << "and not step 10";
  EXPECT_EQ(Verify(store_, kRun, {.generation = 1, .step = 20}).damage.size(), 1U);
}

TEST_F(LargeShard, AShardThatRotsBeforeTheCommitIsNotCommitted) {
  const std::vector<StagedTensor> tensors = {WholeTensor("large", "U8", {kLarge})};
  const SaveId save{.generation = 1, .step = 30, .nonce = 0xabc};
  const std::vector<std::byte> bytes(kLarge);
  auto report = WriteShard(store_, {.run = kRun, .save = save}, tensors, bytes);
  ASSERT_TRUE(report.ok());
  store_.Bytes(DataPath(30, ShardName(0, 1))).back() ^= 1;
  const auto record = Commit(store_, {.run = kRun, .save = save, .reports = {*report}});
  EXPECT_EQ(record.status().code(), Code::kDataLoss);
  EXPECT_EQ((*LoadNewest(store_, kRun))->step, 20U);
}

TEST(Format, ANewerMajorIsRefusedAndAsksForANewerMuster) {
  FaultyStore store;
  Prepare(store);
  ChangeManifest(store, "\"major\":1", "\"major\":2");
  const auto loaded = LoadStep(store);
  EXPECT_EQ(loaded.status().code(), Code::kUnimplemented);
  EXPECT_NE(loaded.status().message().find("use a newer one"), std::string::npos);

  std::string& record = store.Bytes(CommitPath(20));
  Replace(record, "\"major\":1", "\"major\":7");
  Reseal(record);
  EXPECT_EQ(LoadStep(store).status().code(), Code::kUnimplemented) << "and not step 10";
}

TEST(Format, UnknownMembersAndANewerMinorAreIgnored) {
  FaultyStore store;
  Prepare(store);
  ChangeManifest(store, "\"minor\":0", "\"minor\":9,\"future\":{\"a\":[1,2]}");
  EXPECT_EQ(*LoadStep(store), 20U);
  std::string& record = store.Bytes(CommitPath(20));
  Replace(record, "\"minor\":0", "\"minor\":9,\"future\":[]");
  Reseal(record);
  EXPECT_EQ(*LoadStep(store), 20U);
}

TEST(Format, AManifestThatContradictsItselfIsRefusedWithTheTensorsName) {
  for (const auto& [what, by] :
       {std::pair<std::string, std::string>{"\"begin\":4096", "\"begin\":99999"},
        {"\"offset\":[0,0]", "\"offset\":[1,0]"},
        {"\"dtype\":\"F16\"", "\"dtype\":\"F17\""},
        {"\"file\":1", "\"file\":2"}}) {
    FaultyStore store;
    Prepare(store);
    ChangeManifest(store, what, by);
    const auto loaded = LoadStep(store);
    ASSERT_FALSE(loaded.ok()) << by;
    EXPECT_NE(loaded.status().message().find("tensor \""), std::string::npos)
        << loaded.status().message();
  }
}

}  // namespace
}  // namespace muster::checkpoint
