// The journal on a disk that crashes, fills up or fails at every single call
// (memory_disk_sqlite.h).

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "launcher/coordinator/journal_sqlite.h"
#include "tests/fakes/memory_disk_sqlite.h"
#include "tests/integration/journal/sample_facts.h"

namespace muster {
namespace {

using Fault = MemoryDisk::Fault;
using Left = MemoryDisk::Left;

constexpr char kPath[] = "journal.sqlite";
constexpr int kCommits = 40;
constexpr int kLogPages = 12;

// ---- what a coordinator does with its journal, and what it may find afterwards ------------------

struct Deed {
  enum class Kind { kCommit, kSnapshot, kCheckpoint, kReopen } kind = Kind::kCommit;
  std::vector<std::vector<Fact>> batches;
};

struct Story {
  std::vector<Deed> deeds;
  std::vector<State> states;  // [k]: after k commits.
};

Story MakeStory(std::uint64_t seed) {
  Story story;
  SampleFacts source(seed, 3000);
  State state;
  story.states.push_back(state);
  for (int i = 1; i <= kCommits; ++i) {
    Deed deed;
    for (int b = 0; b <= i % 4; ++b) {
      deed.batches.push_back(source.Next(state));
      for (const Fact& fact : deed.batches.back()) Apply(state, fact);
    }
    story.deeds.push_back(std::move(deed));
    story.states.push_back(state);
    if (i % 9 == 0) story.deeds.push_back({Deed::Kind::kSnapshot, {}});
    if (i % 3 == 0) story.deeds.push_back({Deed::Kind::kCheckpoint, {}});
    if (i % 16 == 0) story.deeds.push_back({Deed::Kind::kReopen, {}});
  }
  return story;
}

class Coordinator {
 public:
  Coordinator(const Story& story, const MemoryDisk& disk) : story_(story), disk_(disk) {}

  std::size_t acknowledged() const { return acknowledged_; }
  std::size_t attempted() const { return attempted_; }

  // What a journal holds that was opened anew, in commits; or what it should not hold.
  std::string Open() {
    auto database = JournalDatabase::Open(kPath, disk_.vfs());
    if (!database.ok()) return "cannot be opened: " + database.status().message();
    database_ = *std::move(database);
    const auto loaded = database_->Load();
    if (!loaded.ok()) return "cannot be read: " + loaded.status().message();
    for (const std::size_t k : {acknowledged_, attempted_}) {
      if (loaded->state != story_.states[k]) continue;
      acknowledged_ = attempted_ = k;
      return "";
    }
    return "does not hold the " + std::to_string(acknowledged_) + " acknowledged commits";
  }

  // As a kill would: nothing that closing does reaches the disk.
  void Die(MemoryDisk* disk) {
    disk->Plan(Fault::kCrash, 0);
    database_.reset();
  }

  // Goes on after the acknowledged commits until the end, or the first failure.
  Status Play() {
    std::size_t commits = 0;
    for (const Deed& deed : story_.deeds) {
      if (deed.kind == Deed::Kind::kCommit) ++commits;
      if (commits < acknowledged_ + (deed.kind == Deed::Kind::kCommit ? 1 : 0)) continue;
      const Status status = Do(deed);
      if (status.ok()) continue;
      if (database_ != nullptr) ExpectNothingMore();
      return status;
    }
    return Status();
  }

 private:
  Status Do(const Deed& deed) {
    switch (deed.kind) {
      case Deed::Kind::kCommit:
        attempted_ = acknowledged_ + 1;
        RETURN_IF_ERROR(database_->Commit(deed.batches, WallTime()));
        acknowledged_ = attempted_;
        return Status();
      case Deed::Kind::kSnapshot:
        return database_->TakeSnapshot(story_.states[acknowledged_], WallTime());
      case Deed::Kind::kCheckpoint:
        return database_->Checkpoint(kLogPages);
      case Deed::Kind::kReopen:
        database_.reset();
        const std::string wrong = Open();
        return wrong.empty() ? Status() : Status(Code::kUnavailable, wrong);
    }
    return Status();
  }

  // After a failure no commit may get through, or there would be a hole.
  void ExpectNothingMore() {
    EXPECT_FALSE(database_->Commit({{NodeWasLost{.name = "n0"}}}, WallTime()).ok());
    EXPECT_FALSE(database_->TakeSnapshot(State(), WallTime()).ok());
  }

  const Story& story_;
  const MemoryDisk& disk_;
  std::unique_ptr<JournalDatabase> database_;
  std::size_t acknowledged_ = 0;
  std::size_t attempted_ = 0;
};

// ---- one fault at one call
// -----------------------------------------------------------------------

struct Trial {
  bool reached = false;  // The story has that many calls.
  std::string wrong;     // What the journal broke, if anything.
};

Trial Try(const Story& story, Fault fault, std::uint64_t call, Left left, bool lies = false) {
  std::mt19937_64 chance(call * 4 + static_cast<std::uint64_t>(left));
  MemoryDisk disk;
  if (!JournalDatabase::Create(kPath, disk.vfs()).ok()) return {.wrong = "cannot be made"};
  disk.SyncFolder();  // PublishNewJournal() does so on a real one.
  if (lies) disk.IgnoreSyncs();
  Trial trial;
  Coordinator coordinator(story, disk);
  disk.Plan(fault, call);
  trial.wrong = coordinator.Open();
  const bool opened = trial.wrong.empty();
  const Status status = opened ? coordinator.Play() : Status();
  trial.reached = disk.reached();
  if (!trial.reached) return trial;  // The whole story, and nothing may have gone wrong.

  coordinator.Die(&disk);
  disk.LosePower(left, chance);
  trial.wrong = coordinator.Open();
  if (!trial.wrong.empty()) return trial;
  // What was shown once is there for good, also when the power goes at once.
  const std::size_t shown = coordinator.acknowledged();
  coordinator.Die(&disk);
  disk.LosePower(Left::kSynced, chance);
  trial.wrong = coordinator.Open();
  if (!trial.wrong.empty()) return trial;
  if (coordinator.acknowledged() != shown) trial.wrong = "forgot what it had shown";
  const Status rest = coordinator.Play();
  if (!rest.ok()) trial.wrong = "cannot go on: " + rest.message();
  if (coordinator.acknowledged() != static_cast<std::size_t>(kCommits)) {
    trial.wrong = "did not come to the end";
  }
  return trial;
}

// How many calls the story has: `fault` at each, with whatever is left then.
std::uint64_t TryEveryCall(Fault fault, const std::vector<Left>& lefts) {
  const Story story = MakeStory(1);
  for (std::uint64_t call = 1;; ++call) {
    for (const Left left : lefts) {
      const Trial trial = Try(story, fault, call, left);
      EXPECT_EQ(trial.wrong, "") << "call " << call << ", left " << static_cast<int>(left);
      if (!trial.reached) return call - 1;
      if (!trial.wrong.empty()) return 0;
    }
  }
}

constexpr std::uint64_t kPointsMin = 300;

TEST(JournalCrash, AfterEveryCallReopeningGivesWhatWasAcknowledged) {
  const std::uint64_t points =
      TryEveryCall(Fault::kCrash, {Left::kSynced, Left::kEverything, Left::kSome});
  std::printf("journal: %d crash points, each with 3 sorts of what was left\n",
              static_cast<int>(points));
  EXPECT_GE(points, kPointsMin);
}

TEST(JournalCrash, AFullDiskAtAnyCallLosesNothing) {
  const std::uint64_t points = TryEveryCall(Fault::kFull, {Left::kEverything});
  std::printf("journal: disk full from each of %d calls on\n", static_cast<int>(points));
  EXPECT_GE(points, kPointsMin);
}

TEST(JournalCrash, AnErrorAtAnyCallLosesNothing) {
  const std::uint64_t points = TryEveryCall(Fault::kFails, {Left::kSynced});
  std::printf("journal: an I/O error at each of %d calls\n", static_cast<int>(points));
  EXPECT_GE(points, kPointsMin);
}

TEST(JournalCrash, OtherHistoriesHoldAtCallsDrawnAtRandom) {
  const std::uint64_t seed = std::random_device()();
  std::printf("journal: seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 chance(seed);
  int reached = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t story_seed = chance();
    const std::uint64_t call = 1 + chance() % 400;
    const Trial trial = Try(MakeStory(story_seed), Fault::kCrash, call, Left::kSome);
    ASSERT_EQ(trial.wrong, "") << "story " << story_seed << ", call " << call;
    reached += trial.reached ? 1 : 0;
  }
  EXPECT_GT(reached, 30);
}

// The trials above can fail: on a disk that only says that it synced, acknowledged facts are lost.
TEST(JournalCrash, ADiskThatLiesAboutSyncsIsFoundOut) {
  const Story story = MakeStory(1);
  int found = 0;
  for (std::uint64_t call = 1; call < kPointsMin; call += 10) {
    const Trial trial = Try(story, Fault::kCrash, call, Left::kSynced, true);
    if (!trial.wrong.empty()) ++found;
  }
  EXPECT_GT(found, 10);
}

TEST(JournalCrash, ANewJournalIsDurableBeforeItGetsItsName) {
  std::mt19937_64 chance(1);
  MemoryDisk disk;
  ASSERT_TRUE(JournalDatabase::Create(kPath, disk.vfs()).ok());
  disk.SyncFolder();  // PublishNewJournal() does so on a real one.
  disk.LosePower(Left::kSynced, chance);
  const auto database = JournalDatabase::Open(kPath, disk.vfs());
  ASSERT_TRUE(database.ok()) << database.status().message();
  const auto loaded = (*database)->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->state, State());
}

}  // namespace
}  // namespace muster
