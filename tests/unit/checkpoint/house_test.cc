// Keeping house: which commits stay, pins and leases against gc, adoption, export, and where damage
// is placed.
#include <gtest/gtest.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "runtime/checkpoint/adopt.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/export.h"
#include "runtime/checkpoint/keep_rules.h"
#include "runtime/checkpoint/pins.h"
#include "runtime/checkpoint/safetensors_header.h"
#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

constexpr std::int64_t kHour = 3'600'000;
constexpr CommitId kOld{.generation = 1, .step = 10};
constexpr CommitId kNew{.generation = 1, .step = 30};

void Prepare(Store& store) {
  ASSERT_EQ(MustClaim(store, 1), 1U);
  for (const std::uint64_t step : {10U, 20U, 30U}) {
    ASSERT_TRUE(SaveStep(store, 1, step, 2).ok());
  }
}

std::vector<std::uint64_t> Steps(Store& store) {
  std::vector<std::uint64_t> steps;
  const auto commits = ListCommits(store, kRun);
  for (const CommitId& commit : *commits) steps.push_back(commit.step);
  return steps;
}

LetGoOrder KeepOne() {
  return {.run = kRun, .newest = kNew, .rules = {.last = 1}, .now_ms = 1000, .nonce = 9};
}

TEST(Keep, RulesAreReadAndWrittenAndMistakesSayWhatIsAllowed) {
  const auto rules = ParseKeepRules("last=2,every=6h,best=1,metric=loss,better=higher");
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ(*rules, (KeepRules{2, 360, 1, "loss", true}));
  EXPECT_EQ(*ParseKeepRules(FormatKeepAlso(*rules), {.last = 2}), *rules);
  EXPECT_EQ(FormatKeepAlso({}), "");
  const auto longest = ParseKeepRules("every=36500d");
  ASSERT_TRUE(longest.ok());
  EXPECT_EQ(*ParseKeepRules(FormatKeepAlso(*longest)), *longest);
  for (const char* wrong : {"last=0", "last", "every=6", "every=0h", "every=36501d", "newest=3",
                            "better=best", "best=2", "metric=loss", "last=3,,", "last=-1"}) {
    const auto parsed = ParseKeepRules(wrong);
    EXPECT_EQ(parsed.status().code(), Code::kInvalid) << wrong;
    EXPECT_NE(parsed.status().message().find("best=N"), std::string::npos) << wrong;
  }
}

TEST(Keep, TheNewestOnePerPeriodTheBestAndThePinnedStay) {
  std::vector<KeepCandidate> commits;
  for (std::uint64_t i = 8; i > 0; --i) {  // Every 30 minutes; the loss is lowest at step 2.
    commits.push_back({.id = {.generation = 1, .step = i},
                       .time_ms = static_cast<std::int64_t>(i) * kHour / 2,
                       .metrics = {{"loss", i == 2 ? 1 : 10 - static_cast<double>(i) / 10}},
                       .pinned = i == 1});
  }
  const auto stays = [&](const KeepRules& rules) {
    std::vector<std::uint64_t> steps;
    const auto why = WhyKept(commits, rules);
    for (std::size_t i = 0; i < why.size(); ++i) {
      if (!why[i].empty()) steps.push_back(commits[i].id.step);
    }
    return steps;
  };
  using Steps = std::vector<std::uint64_t>;
  EXPECT_EQ(stays({.last = 2}), (Steps{8, 7, 1}));
  EXPECT_EQ(stays({.last = 1, .every_min = 120}), (Steps{8, 4, 1}));
  EXPECT_EQ(stays({.last = 1, .best = 1, .metric = "loss"}), (Steps{8, 2, 1}));
  EXPECT_EQ(stays({.last = 1, .best = 1, .metric = "loss", .higher = true}), (Steps{8, 1}));
  EXPECT_EQ(stays({.last = 1, .best = 1, .metric = "other"}), (Steps{8, 1}));
  commits[0].whole = commits[2].whole =
      false;  // A torn one counts for nothing, and is no longer new.
  EXPECT_EQ(stays({.last = 1, .every_min = 120}), (Steps{8, 7, 4, 1}));
}

TEST(Keep, OneThatIsDroppedGoesWithItsDataUnlessItIsPinned) {
  FaultyStore store;
  Prepare(store);
  const auto before = *ListCommits(store, kRun);
  ASSERT_GE(before.size(), 2U);
  LetGoOrder order = KeepOne();
  order.rules = {.last = kKeepAll};
  order.drop = before.front();
  EXPECT_EQ(LetGo(store, order)->commits, 1U);
  const auto after = *ListCommits(store, kRun);
  EXPECT_EQ(after, (std::vector<CommitId>(before.begin() + 1, before.end())));
  EXPECT_EQ(store.List(DataFolder(kRun))->size(), after.size());
  ASSERT_TRUE(Pin(store, kRun, {.commit = after.front(), .nonce = 5}, "").ok());
  order.drop = after.front();
  EXPECT_EQ(LetGo(store, order)->commits, 0U);
  EXPECT_EQ(*ListCommits(store, kRun), after);
}

TEST(Keep, WhatALaterAttemptHasNotPassedYetStays) {
  std::vector<KeepCandidate> commits = {{.id = {.generation = 2, .step = 3}},
                                        {.id = {.generation = 2, .step = 2}},
                                        {.id = {.generation = 1, .step = 10}},
                                        {.id = {.generation = 1, .step = 9}}};
  using Why = std::vector<std::string>;
  EXPECT_EQ(WhyKept(commits, {.last = 1}), (Why{"last 1", "", "further than the newest", ""}));
  commits[0].whole = false;
  EXPECT_EQ(WhyKept(commits, {.last = 1}),
            (Why{"cannot be read", "last 1", "further than the newest", ""}));
  commits[1].id.step = commits[2].id.step;
  EXPECT_EQ(WhyKept(commits, {.last = 1}), (Why{"cannot be read", "last 1", "", ""}));
}

TEST(Keep, TheBestByAMetricOfTheHostStateStays) {
  FaultyStore store;
  Prepare(store);  // Its host state is {"sample": step}.
  LetGoOrder order = KeepOne();
  order.rules = {.last = 1, .best = 1, .metric = "sample"};
  const auto plan = PlanLetGo(store, order);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->commits[1].kept, "");
  EXPECT_EQ(plan->commits[2].kept, "best sample");
  EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 20, 10})) << "a plan changes nothing";
  const auto freed = LetGo(store, order);
  ASSERT_TRUE(freed.ok());
  EXPECT_EQ(freed->commits, 1U);
  EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 10}));
  ExpectEveryCommitWhole(store);
}

TEST(Keep, APinStaysForEverAndALeaseUntilItsEnd) {
  FaultyStore store;
  Prepare(store);
  const PinName pin{.commit = kOld, .nonce = 1};
  const PinName lease{.commit = {.generation = 1, .step = 20}, .until_ms = 5000, .nonce = 2};
  ASSERT_TRUE(Pin(store, kRun, pin, "for good").ok());
  ASSERT_TRUE(Pin(store, kRun, lease, "").ok());
  ASSERT_TRUE(LetGo(store, KeepOne()).ok());
  EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 20, 10}));
  LetGoOrder later = KeepOne();
  later.now_ms = 5000;
  ASSERT_TRUE(LetGo(store, later).ok());
  EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 10}));
  EXPECT_EQ(*ListPins(store, kRun), std::vector{pin}) << "a lease that has ended goes, too";
  ASSERT_TRUE(Unpin(store, kRun, pin).ok());
  ASSERT_TRUE(LetGo(store, later).ok());
  EXPECT_EQ(Steps(store), std::vector<std::uint64_t>{30});
  EXPECT_EQ(Pin(store, kRun, pin, "").code(), Code::kNotFound);
  EXPECT_TRUE(ListPins(store, kRun)->empty());
}

// Its text is for people.
TEST(Keep, AFlippedBitInAPinOrALeaseTakesNothingFromIt) {
  for (const std::uint64_t until : {0U, 5000U}) {
    const PinName pin{.commit = kOld, .until_ms = until, .nonce = 1};
    FaultyStore before;
    Prepare(before);
    ASSERT_TRUE(Pin(before, kRun, pin, "paper").ok());
    const std::string path = PinsFolder(kRun) + "/" + PinFileName(pin);
    const std::size_t bytes = before.Bytes(path).size();
    ASSERT_GT(bytes, 10U);
    for (std::size_t i = 0; i <= bytes; ++i) {
      FaultyStore store(before);
      std::string& text = store.Bytes(path);
      if (i < bytes) text[i] = static_cast<char>(text[i] ^ (1 << (i % 8)));
      if (i == bytes) text.clear();
      ASSERT_TRUE(LetGo(store, KeepOne()).ok());
      EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 10})) << i;
      EXPECT_EQ(*ListPins(store, kRun), std::vector{pin}) << i;
    }
  }
}

TEST(Keep, AReaderThatHasALeaseKeepsItsFilesWhereverGcIs) {
  const PinName lease{.commit = kOld, .until_ms = 100'000, .nonce = 3};
  std::size_t granted = 0, refused = 0, calls = 1;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    const auto record = ReadCommit(store, kRun, kOld);
    ASSERT_TRUE(record.ok());
    Status taken;
    store.ActAt(call, [&] { taken = Pin(store, kRun, lease, ""); });
    ASSERT_TRUE(LetGo(store, KeepOne()).ok());
    calls = store.calls();
    store.Heal();
    ++(taken.ok() ? granted : refused);
    if (!taken.ok()) {
      EXPECT_EQ(taken.code(), Code::kNotFound);
    } else {
      const auto manifest = ReadManifest(store, *record);
      ASSERT_TRUE(manifest.ok()) << manifest.status().message();
      for (std::size_t i = 0; i < manifest->files(); ++i) {
        EXPECT_TRUE(FindDamage(store, FolderOf(kRun, record->save), manifest->file(i)).empty());
      }
    }
    LetGoOrder later = KeepOne();
    later.now_ms = 100'000;
    ASSERT_TRUE(LetGo(store, later).ok());
    EXPECT_TRUE(Summarize(store, kRun)->rubbish.empty());
    EXPECT_EQ(Steps(store), std::vector<std::uint64_t>{30});
  }
  std::cout << granted << " leases, " << refused << " refused\n";
  EXPECT_GT(granted, 5U);
  EXPECT_GT(refused, 5U);
}

// The request of one that died takes effect when the next has begun; then the power is lost.
TEST(Keep, ACommitThatAnotherHasUnlinkedDoesNotComeBackWithoutItsData) {
  const std::string commit = CommitsFolder(kRun) + "/" + CommitName(kOld);
  std::size_t calls = 1;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    store.ActAt(call, [&] { static_cast<void>(store.Unlink(commit)); });
    LetGoOrder order = KeepOne();
    order.rules.last = 2;
    ASSERT_TRUE(LetGo(store, order).ok());
    calls = store.calls();
    store.Restart(Loss::kUnsynced, 0);
    ExpectEveryCommitWhole(store);
    EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{30, 20}));
  }
  EXPECT_GT(calls, 10U);
}

TEST(Keep, GcThatDiesAnywhereIsEndedByTheNext) {
  LetGoOrder order = KeepOne();
  order.rules = {.last = 1, .best = 1, .metric = "sample"};
  std::size_t calls = 1, cases = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    for (const Death death : {Death::kBefore, Death::kAfter}) {
      for (const Loss loss : {Loss::kNothing, Loss::kUnsynced, Loss::kRandom}) {
        SCOPED_TRACE("call " + std::to_string(call));
        FaultyStore store;
        Prepare(store);
        ASSERT_TRUE(SaveStep(store, 1, 40, 2).ok());
        order.newest = {.generation = 1, .step = 40};
        const PinName ended{.commit = kOld, .until_ms = 1, .nonce = 4};
        ASSERT_TRUE(Pin(store, kRun, ended, "").ok());
        FaultyStore whole(store);
        whole.FailAt(SIZE_MAX, Fault::kIo);
        ASSERT_TRUE(LetGo(whole, order).ok());
        calls = whole.calls();
        store.DieAt(call, death);
        static_cast<void>(LetGo(store, order));
        store.Restart(loss, call);
        ExpectEveryCommitWhole(store);
        EXPECT_EQ(*LoadStep(store), 40U);
        const auto again = LetGo(store, order);
        ASSERT_TRUE(again.ok()) << again.status().message();
        EXPECT_EQ(Steps(store), (std::vector<std::uint64_t>{40, 10}));
        EXPECT_TRUE(Summarize(store, kRun)->rubbish.empty());
        ExpectEveryCommitWhole(store);
        ++cases;
      }
    }
  }
  EXPECT_GT(cases, 100U);
}

std::string ShardPath(std::uint64_t step, std::uint32_t node) {
  const SaveId save{.generation = 1, .step = step, .nonce = 0xabc};
  return FolderOf(kRun, save) + "/" + ShardName(node, 2);
}

TEST(Damage, EveryFlippedBitOfAShardIsPlacedAtItsByteAndTensor) {
  FaultyStore store;
  Prepare(store);
  const auto manifest = Show(store, kRun, kNew);
  ASSERT_TRUE(manifest.ok());
  std::size_t named = 0;
  for (std::uint32_t node = 0; node < 2; ++node) {
    std::string& bytes = store.Bytes(ShardPath(30, node));
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += bit < 8UL * 4096 ? 97 : 1) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      const auto damage = Verify(store, kRun, kNew).damage;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      ASSERT_EQ(damage.size(), 1U) << "bit " << bit;
      EXPECT_EQ(damage[0].path, ShardPath(30, node));
      EXPECT_EQ(damage[0].begin, bit / 8);
      EXPECT_EQ(damage[0].end, bit / 8 + 1);
      EXPECT_EQ(damage[0].tensors.size(), bit / 8 < 4096 ? 0U : 1U);
      named += damage[0].tensors.size();
    }
  }
  EXPECT_GT(named, 1000U);
  EXPECT_TRUE(Verify(store, kRun, kNew).damage.empty());
}

TEST(Damage, AFlippedBitIsFoundFromTheCrcsOfAWholeMiB) {
  std::vector<std::byte> block(kBlock, std::byte{0x5a});
  const std::uint32_t due = Crc32c(block);
  for (const std::uint64_t bit : {std::uint64_t{0}, std::uint64_t{12'345'6}, 8 * kBlock - 1}) {
    block[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_EQ(FlippedBit(Crc32c(block), due, block.size()), bit);
    block[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  block[5] ^= std::byte{0x18};
  EXPECT_EQ(FlippedBit(Crc32c(block), due, block.size()), std::nullopt);
}

TEST(Damage, AQuickLookAndOneTensorsFilesReadLess) {
  FaultyStore store;
  Prepare(store);
  store.Bytes(ShardPath(30, 1)).back() ^= 1;
  EXPECT_EQ(Verify(store, kRun, kNew).damage.size(), 1U);
  EXPECT_EQ(Verify(store, kRun, kNew, {.quick = true}).damage.size(), 1U)
      << "it is in the last MiB";
  EXPECT_EQ(Verify(store, kRun, kNew, {.patterns = {"weights"}}).damage.size(), 1U);
  const auto wrong = Verify(store, kRun, kNew, {.patterns = {"wieghts"}});
  EXPECT_TRUE(wrong.damage.empty());
  EXPECT_NE(wrong.unmatched.find("no tensor of the checkpoint matches"), std::string::npos);
}

// A store on which a committer died between the manifest and the record of step 40.
constexpr SaveId kOrphan{.generation = 1, .step = 40, .nonce = 0xabc};
void DieBeforeRecord(FaultyStore& store) {
  Prepare(store);
  FaultyStore tried(store);
  tried.FailAt(SIZE_MAX, Fault::kIo);
  ASSERT_TRUE(SaveStep(tried, 1, 40, 2).ok());
  std::size_t link = tried.kinds().size() - 1;  // The last one is the record's.
  while (tried.kinds()[link] != "link") --link;
  store.DieAt(link, Death::kBefore);
  EXPECT_FALSE(SaveStep(store, 1, 40, 2).ok());
  store.Restart(Loss::kUnsynced, 0);
  ASSERT_EQ(*LoadStep(store), 30U);
}

Result<CommitRecord> AdoptOrphan(Store& store) {
  return Adopt(store, {.run = kRun, .save = kOrphan, .nonce = 0x77, .now_ms = 1000});
}

TEST(Adopt, ACompleteSaveIsCommittedAndItsWriterCommitsNoMore) {
  FaultyStore store;
  DieBeforeRecord(store);
  const auto record = AdoptOrphan(store);
  ASSERT_TRUE(record.ok()) << record.status().message();
  EXPECT_EQ(record->metrics.at("sample"), 40);
  EXPECT_EQ(*LoadStep(store), 40U);
  ExpectEveryCommitWhole(store);
  EXPECT_EQ(*HighestClaim(store, kRun), 2U);
  EXPECT_EQ(SaveStep(store, 1, 50, 2).code(), Code::kAborted);
  EXPECT_EQ(AdoptOrphan(store).status().code(), Code::kExists);
}

TEST(Adopt, NothingIsPublishedBehindANewerCommit) {
  FaultyStore store;
  DieBeforeRecord(store);
  ASSERT_EQ(MustClaim(store, 0x99), 2U);
  ASSERT_TRUE(SaveStep(store, 2, 35, 1).ok());
  const auto record = AdoptOrphan(store);
  EXPECT_EQ(record.status().code(), Code::kExists);
  EXPECT_NE(record.status().message().find("newer than step 40"), std::string::npos);
  EXPECT_EQ(*LoadStep(store), 35U);
}

TEST(Adopt, WhatIsNotWholeIsRefusedAndNothingIsClaimed) {
  const auto refused = [](const std::function<void(FaultyStore&)>& harm) {
    FaultyStore store;
    DieBeforeRecord(store);
    harm(store);
    const auto record = AdoptOrphan(store);
    EXPECT_EQ(record.status().code(), Code::kDataLoss) << record.status().message();
    EXPECT_EQ(*HighestClaim(store, kRun), 1U);
    EXPECT_EQ(*LoadStep(store), 30U);
    return record.status().message();
  };
  const std::string folder = FolderOf(kRun, kOrphan) + "/";
  const std::string manifest = folder + kManifestName;
  EXPECT_NE(refused([&](FaultyStore& s) {
              ASSERT_TRUE(s.Unlink(manifest).ok());
            }).find("sampler and RNG"),
            std::string::npos);
  refused([&](FaultyStore& s) { s.Bytes(folder + ShardName(0, 2)).pop_back(); });
  EXPECT_NE(refused([&](FaultyStore& s) {
              s.Bytes(folder + ShardName(1, 2)).back() ^= 4;
            }).find("at MiB 0"),
            std::string::npos);
  FaultyStore other;
  DieBeforeRecord(other);
  refused([&](FaultyStore& s) {  // A shard of another save under the right name.
    s.Bytes(folder + ShardName(0, 2)) = other.Bytes(ShardPath(30, 0));
  });
}

TEST(Adopt, AnyFlippedBitOfTheManifestIsRefusedOrMeansNothing) {
  FaultyStore before;
  DieBeforeRecord(before);
  const std::string path = FolderOf(kRun, kOrphan) + "/" + kManifestName;
  std::size_t refused = 0;
  const std::size_t bytes = before.Bytes(path).size();
  for (std::size_t at = 0; at < bytes; ++at) {
    FaultyStore store(before);
    store.Bytes(path)[at] ^= 1;
    const auto record = AdoptOrphan(store);
    refused += record.ok() ? 0U : 1U;
    if (record.ok()) {
      EXPECT_EQ(*LoadStep(store), 40U) << "byte " << at;
    }
  }
  std::cout << refused << " of " << bytes << " refused\n";
  EXPECT_GT(refused, bytes / 2);
}

TEST(Export, WholeTensorsInFilesOfBoundedSizeWithAnIndex) {
  FaultyStore store, out;
  Prepare(store);
  const auto exported = Export(store, {.run = kRun, .commit = kNew, .shard_bytes_max = 40}, out);
  ASSERT_TRUE(exported.ok()) << exported.status().message();
  EXPECT_EQ(exported->tensors, 4U);
  ASSERT_EQ(exported->files.size(), 2U);  // 8 + 30 + 0 bytes, then 112.
  const auto index = nlohmann::json::parse(out.Bytes("model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], exported->bytes);
  const auto tensors = SampleTensors();
  const auto bytes = SampleBytes(30);
  std::size_t at = 0;
  for (const StagedTensor& tensor : tensors) {
    const std::string& file = out.Bytes(index["weight_map"][tensor.name].get<std::string>());
    const auto header = ParseShardHeader(file, file.size());
    ASSERT_TRUE(header.ok()) << header.status().message();
    EXPECT_EQ(header->metadata.at("format"), "pt");
    for (const HeaderTensor& one : header->tensors) {
      if (one.name != tensor.name) continue;
      EXPECT_EQ(one.shape, tensor.shape);
      EXPECT_EQ(std::memcmp(file.data() + one.begin, bytes.data() + at, one.end - one.begin), 0);
      EXPECT_EQ(one.end - one.begin, BoxBytes(tensor));
    }
    at += BoxBytes(tensor);
  }
  FaultyStore some;
  EXPECT_EQ(Export(store, {.run = kRun, .commit = kNew, .patterns = {"w*"}}, some)->tensors, 1U);
  EXPECT_EQ(some.Files(), (std::vector<std::string>{"model-00001-of-00001.safetensors",
                                                    "model.safetensors.index.json"}));
}

TEST(Export, OfADamagedCommitLeavesNothing) {
  FaultyStore store, out;
  Prepare(store);
  store.Bytes(ShardPath(30, 0)).back() ^= 1;
  EXPECT_EQ(Export(store, {.run = kRun, .commit = kNew}, out).status().code(), Code::kDataLoss);
  EXPECT_TRUE(out.Files().empty()) << out.Files().front();
}

}  // namespace
}  // namespace muster::checkpoint
