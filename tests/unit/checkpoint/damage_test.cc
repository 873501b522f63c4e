// Bytes that are not what was written are found and placed, in every kind of file.
#include <gtest/gtest.h>

#include <functional>

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
void ChangeManifest(FaultyStore& store, const std::function<void(std::string&)>& change) {
  std::string& bytes = store.Bytes(DataPath(20, kManifestName));
  change(bytes);
  auto record = ParseCommit(store.Bytes(CommitPath(20)));
  ASSERT_TRUE(record.ok());
  record->manifest_bytes = bytes.size();
  record->manifest_crc = Crc32c(bytes);
  store.Bytes(CommitPath(20)) = FormatCommit(*record);
}

manifest_format::Header& HeaderOf(std::string& manifest) {
  return *reinterpret_cast<manifest_format::Header*>(manifest.data());
}

manifest_format::Section& SectionOf(std::string& manifest, manifest_format::Kind kind) {
  auto* sections = reinterpret_cast<manifest_format::Section*>(manifest.data() +
                                                               sizeof(manifest_format::Header));
  return sections[static_cast<std::size_t>(kind) - 1];
}

template <typename Row>
Row& RowOf(std::string& manifest, manifest_format::Kind kind, std::size_t row) {
  return reinterpret_cast<Row*>(manifest.data() + SectionOf(manifest, kind).begin)[row];
}

// A section that no muster knows, in front of all others.
void AddUnknownSection(std::string& manifest) {
  constexpr std::size_t kEntry = sizeof(manifest_format::Section);
  std::string entry(kEntry, '\0');
  const manifest_format::Section unknown{.kind = 99, .reserved = 7, .begin = 80, .bytes = 3};
  std::memcpy(entry.data(), &unknown, kEntry);
  manifest.insert(sizeof(manifest_format::Header), entry);
  manifest_format::Header& header = HeaderOf(manifest);
  for (std::uint32_t i = 1; i <= header.sections; ++i) {
    SectionOf(manifest, static_cast<manifest_format::Kind>(i + 1)).begin += kEntry;
  }
  ++header.sections;
  header.bytes += kEntry;
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

// What a claim says is in its name.
TEST(Damage, InAClaimCostsNothingAndFencesAllTheSame) {
  FaultyStore before;
  Prepare(before);
  ASSERT_EQ(MustClaim(before, 2), 2U);
  const std::string path = ClaimsFolder(kRun) + "/" + ClaimName(2);
  const std::size_t bytes = before.Bytes(path).size();
  ASSERT_GT(bytes, 50U);
  for (std::size_t i = 0; i <= bytes; ++i) {
    FaultyStore store(before);
    std::string& claim = store.Bytes(path);
    if (i < bytes) {
      claim[i] = static_cast<char>(claim[i] ^ (1 << (i % 8)));
    } else {
      claim.clear();
    }
    EXPECT_EQ(*LoadStep(store), 20U) << i;
    EXPECT_EQ(SaveStep(store, 1, 30, 1).code(), Code::kAborted) << i;
    ASSERT_TRUE(SaveStep(store, 2, 30, 1).ok()) << i;
    EXPECT_EQ(*LoadStep(store), 30U) << i;
    EXPECT_EQ(MustClaim(store, 3), 3U) << i;
  }
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

// A mover that takes over finds that the one before it came so far.
TEST_F(LargeShard, AShardThatItsWriterFindsUnderItsNameIsReadBeforeItCounts) {
  const std::vector<StagedTensor> tensors = {WholeTensor("large", "U8", {kLarge})};
  const std::vector<std::byte> bytes(kLarge, std::byte{7});
  const ShardPlace place{.run = kRun, .save = {.generation = 1, .step = 30}, .again = true};
  const auto report = WriteShard(store_, place, tensors, bytes);
  ASSERT_TRUE(report.ok());
  const auto again = [&] { return WriteShard(store_, place, tensors, bytes).status(); };
  EXPECT_TRUE(again().ok());
  std::string& file = store_.Bytes(FolderOf(kRun, place.save) + "/" + report->file);
  const std::string whole = file;
  for (const std::size_t at : {std::size_t{9}, (std::size_t{1} << 20U) + 5, whole.size() - 1}) {
    file[at] = static_cast<char>(file[at] ^ 4);
    EXPECT_EQ(again().code(), Code::kDataLoss) << at;
    EXPECT_NE(again().message().find("MiB " + std::to_string(at >> 20U)), std::string::npos);
    file = whole;
  }
  file.resize(whole.size() - 1);
  EXPECT_EQ(again().code(), Code::kDataLoss);
  file = whole;
  EXPECT_TRUE(again().ok());
}

// Its CRC holds: what muster reads is right, and what Python reads is not.
TEST_F(LargeShard, AHeaderThatDisagreesWithTheManifestIsFound) {
  std::string& file = store_.Bytes(path_);
  Replace(file, "\"dtype\":\"U8\"", "\"dtype\":\"I8\"");
  const auto first = std::as_bytes(std::span(file)).first(kBlock);
  ChangeManifest(store_, [&](std::string& m) {
    RowOf<std::uint32_t>(m, manifest_format::Kind::kCrcs, 0) = Crc32c(first);
  });
  EXPECT_TRUE(Verify(store_, kRun, {.generation = 1, .step = 20}).damage.empty());
  Replace(file, "\"data_offsets\":[0,", "\"data_offsets\":[1,");
  ChangeManifest(store_, [&](std::string& m) {
    RowOf<std::uint32_t>(m, manifest_format::Kind::kCrcs, 0) = Crc32c(first);
  });
  const auto damage = Verify(store_, kRun, {.generation = 1, .step = 20}).damage;
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_NE(damage[0].what.find("tensor \"large\""), std::string::npos) << damage[0].what;
  Replace(file, "\"data_offsets\":[1,", "\"data_offsets\":[0,");
  ChangeManifest(store_, [&](std::string& m) {
    RowOf<std::uint32_t>(m, manifest_format::Kind::kCrcs, 0) = Crc32c(first);
    --RowOf<manifest_format::BoxRow>(m, manifest_format::Kind::kBoxes, 0).begin;
  });
  const auto moved = Verify(store_, kRun, {.generation = 1, .step = 20}).damage;
  ASSERT_EQ(moved.size(), 1U);
  EXPECT_NE(moved[0].what.find("place tensors differently"), std::string::npos) << moved[0].what;
  EXPECT_TRUE(LoadNewest(store_, kRun).ok());
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
  ChangeManifest(store, [](std::string& bytes) { ++HeaderOf(bytes).major; });
  const auto loaded = LoadStep(store);
  EXPECT_EQ(loaded.status().code(), Code::kUnimplemented);
  EXPECT_NE(loaded.status().message().find("use a newer one"), std::string::npos);

  std::string& record = store.Bytes(CommitPath(20));
  Replace(record, "\"major\":2", "\"major\":7");
  Reseal(record);
  EXPECT_EQ(LoadStep(store).status().code(), Code::kUnimplemented) << "and not step 10";

  Replace(record, "\"major\":7", "\"major\":1");
  Reseal(record);
  EXPECT_EQ(LoadStep(store).status().code(), Code::kUnimplemented);
  EXPECT_NE(LoadStep(store).status().message().find("the muster that wrote it"), std::string::npos);
}

TEST(Format, AManifestOfJsonIsRefusedByName) {
  FaultyStore store;
  Prepare(store);
  ChangeManifest(store, [](std::string& bytes) { bytes = "{\"format\":\"muster\"}"; });
  EXPECT_EQ(LoadStep(store).status().code(), Code::kUnimplemented);
  EXPECT_NE(LoadStep(store).status().message().find("JSON, of the first format"),
            std::string::npos);
}

TEST(Format, UnknownMembersAndANewerMinorAreIgnored) {
  FaultyStore store;
  Prepare(store);
  ChangeManifest(store, [](std::string& bytes) {
    HeaderOf(bytes).minor = 9;
    AddUnknownSection(bytes);
  });
  EXPECT_EQ(*LoadStep(store), 20U);
  std::string& record = store.Bytes(CommitPath(20));
  Replace(record, "\"minor\":0", "\"minor\":9,\"future\":[]");
  Reseal(record);
  EXPECT_EQ(*LoadStep(store), 20U);
}

TEST(Format, AManifestThatContradictsItselfIsRefusedWithTheTensorsName) {
  using manifest_format::Kind;
  const std::function<void(std::string&)> changes[] = {
      [](std::string& m) { RowOf<manifest_format::BoxRow>(m, Kind::kBoxes, 1).begin = 99999; },
      [](std::string& m) { ++RowOf<std::uint64_t>(m, Kind::kExtents, 2); },  // An offset of "half".
      [](std::string& m) { RowOf<manifest_format::TensorRow>(m, Kind::kTensors, 1).dtype = 200; },
      [](std::string& m) { RowOf<manifest_format::TensorRow>(m, Kind::kTensors, 1).rank = 99; },
      [](std::string& m) { RowOf<manifest_format::TensorRow>(m, Kind::kTensors, 1).boxes = 99; },
      [](std::string& m) { ++RowOf<manifest_format::TensorRow>(m, Kind::kTensors, 2).first_box; }};
  for (const auto& change : changes) {
    FaultyStore store;
    Prepare(store);
    ChangeManifest(store, change);
    const auto loaded = LoadStep(store);
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.status().message().find("tensor \""), std::string::npos)
        << loaded.status().message();
  }
}

TEST(Format, AManifestWhoseTablesLieOutsideIsRefused) {
  using manifest_format::Kind;
  const std::function<void(std::string&)> changes[] = {
      [](std::string& m) { HeaderOf(m).magic[3] = 'x'; },
      [](std::string& m) { HeaderOf(m).bytes -= 8; },
      [](std::string& m) { HeaderOf(m).sections = 6; },
      [](std::string& m) { HeaderOf(m).sections = UINT32_MAX; },
      [](std::string& m) { HeaderOf(m).block_bytes = 4096; },
      [](std::string& m) { SectionOf(m, Kind::kTexts).begin += 4; },
      [](std::string& m) { SectionOf(m, Kind::kBoxes).bytes += 1U << 20U; },
      [](std::string& m) { SectionOf(m, Kind::kBoxes).begin = UINT64_MAX - 7; },
      [](std::string& m) { SectionOf(m, Kind::kCrcs).kind = 3; },
      [](std::string& m) { RowOf<manifest_format::BoxRow>(m, Kind::kBoxes, 0).file = 2; },
      [](std::string& m) { RowOf<manifest_format::FileRow>(m, Kind::kFiles, 0).name = 1U << 30U; },
      [](std::string& m) { RowOf<manifest_format::FileRow>(m, Kind::kFiles, 1).size = 1U << 30U; },
      [](std::string& m) { RowOf<manifest_format::MemberRow>(m, Kind::kMembers, 0).value = ~0ULL; },
      [](std::string& m) { m.resize(30); }};
  for (const auto& change : changes) {
    FaultyStore store;
    Prepare(store);
    ChangeManifest(store, change);
    EXPECT_EQ(LoadStep(store).status().code(), Code::kDataLoss) << &change - changes;
  }
}

}  // namespace
}  // namespace muster::checkpoint
