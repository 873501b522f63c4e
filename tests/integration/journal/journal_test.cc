// The journal of one coordinator after another, on a real disk.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "runtime/base/text.h"
#include "tests/integration/journal/real_journal_threads.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {
namespace {

class JournalTest : public CleanTest {
 protected:
  std::string path_ = scene_.folder() + "/journal.sqlite";
};

TEST_F(JournalTest, BeginsEmptyAndComesBackAsItWas) {
  Life first(path_, 1);
  ASSERT_EQ(first.Begin(), Status());
  EXPECT_EQ(first.state(), State());
  EXPECT_EQ(first.DecideAndWait(500).durable, 500U);
  ASSERT_EQ(first.Stop(), Status());

  Life second(path_, 2);
  ASSERT_EQ(second.Begin(), Status());
  EXPECT_EQ(second.state(), first.state());
  EXPECT_GT(second.facts_since_snapshot(), 500U);
  EXPECT_EQ(second.DecideAndWait(10).durable, 10U) << "numbers begin anew in each life";
  ASSERT_EQ(second.Stop(), Status());
  EXPECT_EQ(second.Stop(), Status()) << "stopping twice is fine";

  const Result<State> third = Reopen(path_);
  ASSERT_TRUE(third.ok()) << third.status().message();
  EXPECT_EQ(*third, second.state());
}

TEST_F(JournalTest, SnapshotAndTailEqualTheStateBefore) {
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  for (int i = 0; i < 5; ++i) {
    for (int k = 0; k < 100; ++k) life.Decide();
    life.Snapshot();
  }
  life.DecideAndWait(7);
  ASSERT_EQ(life.Stop(), Status());

  Life next(path_);
  ASSERT_EQ(next.Begin(), Status());
  EXPECT_EQ(next.state(), life.state());
  EXPECT_LT(next.facts_since_snapshot(), 100U);
  ASSERT_EQ(next.Stop(), Status());
}

TEST_F(JournalTest, OldFactsGoWithASnapshotAndTheOneBeforeStays) {
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  for (int i = 0; i < 5; ++i) {
    for (int k = 0; k < 100; ++k) life.Decide();
    life.Snapshot();
  }
  ASSERT_EQ(life.Stop(), Status());
  EXPECT_EQ(Shell(path_, "SELECT count(*) FROM snapshot"), "2\n");
  EXPECT_EQ(Shell(path_,
                  "SELECT min(fact.sequence) = min(snapshot.sequence) + 1,"
                  " max(fact.sequence) = max(snapshot.sequence) FROM fact, snapshot"),
            "1|1\n");
  Shell(path_, "DELETE FROM snapshot WHERE sequence = (SELECT max(sequence) FROM snapshot)");
  const Result<State> rebuilt = Reopen(path_);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().message();
  EXPECT_EQ(*rebuilt, life.state());
}

TEST_F(JournalTest, AllThatIsQueuedIsOneCommit) {
  JournalThread journal(path_, RealClock());
  ASSERT_TRUE(journal.Load().ok());
  for (int i = 0; i < 1000; ++i) journal.Append({NodeWasLost{.name = "n0"}});
  Told told;
  journal.Start(told.Listener());
  EXPECT_EQ(told.WaitFor(1000).durable, 1000U);
  EXPECT_EQ(told.calls(), 1);
  EXPECT_EQ(journal.Stop(), Status());
}

TEST_F(JournalTest, StopWritesWhatIsQueuedAndDestroyingDropsIt) {
  State stopped;
  {
    JournalThread journal(path_, RealClock());
    ASSERT_TRUE(journal.Load().ok());
    journal.Start(nullptr);
    journal.Append({CoordinatorStarted{.cluster = "kept"}});
    EXPECT_EQ(journal.Stop(), Status());
  }
  {
    JournalThread journal(path_, RealClock());
    ASSERT_TRUE(journal.Load().ok());
    journal.Append({CoordinatorStarted{.cluster = "dropped"}});
  }
  const Result<State> state = Reopen(path_);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(state->cluster, "kept");
}

TEST_F(JournalTest, ADiskThatFallsTooFarBehindIsAFailure) {
  JournalThread journal(path_, RealClock());
  ASSERT_TRUE(journal.Load().ok());
  for (std::size_t i = 0; i <= JournalThread::kQueueMax; ++i) journal.Append({});
  Told told;
  journal.Start(told.Listener());
  const JournalProgress progress = told.WaitFor(JournalThread::kQueueMax + 1);
  EXPECT_EQ(progress.durable, 0U);
  EXPECT_EQ(progress.failure.code(), Code::kExhausted);
  EXPECT_EQ(journal.Stop(), progress.failure);
}

TEST_F(JournalTest, PeopleReadItWithTheShellWhileItIsWritten) {
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  life.DecideAndWait(50);
  EXPECT_EQ(Shell(path_, "SELECT kind, job FROM fact WHERE sequence = 1"),
            "coordinator_started|\n");
  EXPECT_EQ(Shell(path_, "SELECT min(job) FROM fact WHERE kind = 'job_accepted'"), "1\n");
  EXPECT_EQ(Shell(path_,
                  "SELECT count(*) FROM fact WHERE abs(julianday(time) -"
                  " julianday('now')) > 1"),
            "0\n");
  EXPECT_EQ(Shell(path_, "PRAGMA user_version"), "1\n");
  EXPECT_EQ(Shell(path_, "PRAGMA application_id"), "1836282994\n");
  EXPECT_EQ(life.DecideAndWait(50).durable, 100U) << "a reader is in nobody's way";
  ASSERT_EQ(life.Stop(), Status());
}

TEST_F(JournalTest, FilesArePrivateWhateverTheUmask) {
  const mode_t before = umask(0);
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  life.DecideAndWait(1);
  umask(before);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scene_.folder())) {
    const std::string name = entry.path();
    if (!name.starts_with(path_)) continue;
    ++files;
    struct stat found = {};
    ASSERT_EQ(stat(name.c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777U, 0600U) << name;
  }
  EXPECT_EQ(files, 4) << "the database, -wal, -shm and .lock";
  ASSERT_EQ(life.Stop(), Status());
}

TEST_F(JournalTest, WhatAnInterruptedCreationLeftIsNoObstacle) {
  for (const char* rest : {".new", ".new-journal", ".new-wal"}) {
    ASSERT_EQ(WriteFileAtomically(path_ + rest, "rubbish"), Status());
  }
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  life.DecideAndWait(3);
  ASSERT_EQ(life.Stop(), Status());
  const Result<State> state = Reopen(path_);
  ASSERT_TRUE(state.ok()) << state.status().message();
  EXPECT_EQ(*state, life.state());
}

}  // namespace
}  // namespace muster::testing
