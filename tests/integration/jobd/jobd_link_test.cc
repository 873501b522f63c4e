// What ranks get over their links: memory that outlives them, checkpoints, the word to stop.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/integration/jobd/test_job_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster {
namespace {

class JobdLinkTest : public testing::CleanTest {
 protected:
  TestJobOptions Options(std::uint32_t hosts) const {
    return {.folder = scene_.folder(), .hosts = hosts, .ranks_per_host = 2, .argv = {LINK_RANK}};
  }
  std::string Store() const { return scene_.folder() + "/store"; }
};

TEST_F(JobdLinkTest, LoadsInTheNextAttemptWhatWasCommittedInThisOne) {
  TestJob job(Options(2));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint.store = Store();
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); }))
      << job.Out(0, 0) << job.Out(0, 1) << job.Out(0, 2) << job.Out(0, 3);
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(0, rank), "nothing to load\nmemory is fresh\nstaged\nsaved\nwaits\n");
  }
  EXPECT_TRUE(job.Until([&] {
    const auto& progress = job.nodes[0]->progress;
    return !progress.empty() && progress.back().committed_step == 10 &&
           job.nodes[0]->marks[0].contains(Mark::kStateRestored) &&
           job.nodes[1]->marks[0].contains(Mark::kStateRestored);
  }));
  ASSERT_EQ(kill(job.PidOf(3), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(1, rank), "loaded step 10 right\nmemory was kept\nstaged\nsaved\nwaits\n");
  }
  job.SendAll(StopAttempt{job.order.job, 1, 50000});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.AllSay(1, "stops"));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLinkTest, EndsAJobWhoseStoreFailsOnlyIfItIsRequired) {
  for (const bool required : {true, false}) {
    TestJob job(Options(2));
    ASSERT_TRUE(WriteFileAtomically(Store(), "not a folder").ok());
    job.order.checkpoint = {.store = Store(), .required = required};
    job.Start(0);
    if (required) {
      ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
      EXPECT_EQ(job.FirstCause().kind, CauseKind::kStore);
      EXPECT_NE(job.FirstCause().text.find(Store()), std::string::npos) << job.FirstCause().text;
    } else {
      ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
      EXPECT_NE(job.Out(0, 0).find("not saved: "), std::string::npos) << job.Out(0, 0);
    }
    EXPECT_TRUE(job.End());
  }
}

// How many movers of the job got the signal.
int SignalMovers(const TestJob& job, int signal) {
  int signalled = 0;
  for (const pid_t pid : job.Carriers()) {
    const auto line = ReadFile("/proc/" + std::to_string(pid) + "/cmdline");
    if (line.ok() && *line == std::string("muster\0mover\0", 13))
      signalled += kill(pid, signal) == 0;
  }
  return signalled;
}

// A mover that is stopped moves as little as one in a system call on a dead share.
TEST_F(JobdLinkTest, ASaveThatTheStoreDoesNotTakeIsGivenUpWithThePlaceAndTheJobGoesOn) {
  TestJobOptions options = Options(1);
  options.argv.emplace_back("saves-at-the-end");
  TestJob job(options);
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .deadline_ms = 1000};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_NE(job.Out(0, 0).find("\nsaved\n"), std::string::npos) << job.Out(0, 0);
  EXPECT_EQ(SignalMovers(job, SIGSTOP), 1);
  job.SendAll(StopAttempt{job.order.job, 0, 50000});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.AllSay(0, "stops")) << job.FirstCause().text;
  const std::string out = job.Out(0, 0);
  EXPECT_NE(out.find("not saved: node "), std::string::npos) << out;
  EXPECT_NE(out.find("the store has not answered for "), std::string::npos) << out;
  EXPECT_NE(out.find("777/"), std::string::npos) << "in a path of the run: " << out;
  EXPECT_NE(out.find(" MB/s"), std::string::npos) << out;
  EXPECT_TRUE(job.End());
}

// Written slowly, so that its rank is long dead by then.
TEST_F(JobdLinkTest, WhatWasStagedIsCommittedThoughItsRankDiesAndTheNextAttemptLoadsIt) {
  TestJob job(Options(1));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .bytes_per_s = 8000};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.Out(0, 0).find("staged\n") != std::string::npos; }));
  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.Out(0, 0), "nothing to load\nmemory is fresh\nstaged\n");
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(job.Out(1, 0).find("loaded step 10 right\nmemory was kept\n"), 0U) << job.Out(1, 0);
  EXPECT_TRUE(job.End());
}

// Each node writes its part slowly; the next attempt's head hears that all are there.
TEST_F(JobdLinkTest, WhatSeveralNodesStagedIsCommittedThoughTheirRanksDie) {
  TestJob job(Options(2));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .bytes_per_s = 6000};
  job.Start(0);
  ASSERT_TRUE(job.Until(
      [&] { return job.Out(0, 0).ends_with("staged\n") && job.Out(0, 2).ends_with("staged\n"); }));
  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.Out(0, 0), "nothing to load\nmemory is fresh\nstaged\n");
  job.order.checkpoint.bytes_per_s = 0;
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(1, rank).find("loaded step 10 right\nmemory was kept\n"), 0U)
        << job.Out(1, rank);
  }
  EXPECT_TRUE(job.End());
}

// ---- two tiers ----------------------------------------------------------------------------------

class JobdTiersTest : public JobdLinkTest {
 protected:
  std::string Local() const { return scene_.folder() + "/local"; }
  // `slow`: what is in the local stores stays there for as long as a test looks.
  CheckpointPolicy Tiers(bool slow) const {
    return {.store = Store(), .bytes_per_s = slow ? 200U : 0U, .local = Local()};
  }
  void MakeTiers() const {
    ASSERT_TRUE(MakeFolders(Store()).ok());
    ASSERT_TRUE(MakeFolders(Local()).ok());
  }
  static std::vector<std::string> FilesIn(const std::string& folder, const std::string& end) {
    std::vector<std::string> files;
    for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
      if (file.path().string().ends_with(end)) files.push_back(file.path());
    }
    return files;
  }
  // Both nodes' parts are in the local store, and nothing is committed.
  void RunUntilLocal(TestJob& job) const {
    job.order.checkpoint = Tiers(/*slow=*/true);
    job.Start(0);
    const std::string line = "on the local disk\n";
    ASSERT_TRUE(job.Until([&] {
      return job.Out(0, 0).ends_with(line) && job.Out(0, 2).ends_with(line);
    })) << job.Out(0, 0)
        << job.FirstCause().text;
    EXPECT_EQ(FilesIn(Local(), ".muster").size(), 2U);
    EXPECT_TRUE(FilesIn(Store() + "/" + job.order.run_id + "/commits", ".json").empty());
  }
};

TEST_F(JobdTiersTest, ASaveIsOnTheLocalDiskFirstThenOnTheShareThenOnlyThere) {
  TestJob job(Options(2));
  MakeTiers();
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(0, rank),
              "nothing to load\nmemory is fresh\nstaged\non the local disk\nsaved\nwaits\n");
  }
  EXPECT_EQ(FilesIn(Store(), ".safetensors").size(), 2U);
  EXPECT_TRUE(job.Until(
      [&] { return FilesIn(Local(), "").empty() || FilesIn(Local(), ".safetensors").empty(); }));
  EXPECT_TRUE(job.End());
  EXPECT_TRUE(FilesIn(Local(), "").empty()) << "the run's folder stays";
}

TEST_F(JobdTiersTest, ASaveIsMovedOnWhenItsMoversAreKilled) {
  TestJob job(Options(2));
  MakeTiers();
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.order.checkpoint.bytes_per_s = 8000;  // A second.
  job.Start(0);
  const std::string line = "on the local disk\n";
  ASSERT_TRUE(job.Until([&] { return job.Out(0, 0).ends_with(line); })) << job.Out(0, 0);
  EXPECT_GE(SignalMovers(job, SIGKILL), 2);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_TRUE(job.Out(0, 0).ends_with("saved\nwaits\n")) << job.Out(0, 0);
  EXPECT_TRUE(job.End());
}

// The machines' daemons die with all that they knew; only the disks stay.
TEST_F(JobdTiersTest, WhatIsCompleteOnTheLocalDisksIsMovedOnByTheNextAttempt) {
  MakeTiers();
  {
    TestJob job(Options(2));
    RunUntilLocal(job);
    for (const auto& node : job.nodes) node->Kill();
  }
  TestJob job(Options(2));
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(1, rank).find("loaded step 10 right\n"), 0U) << job.Out(1, rank);
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdTiersTest, WhatIsNotCompleteOnTheLocalDisksIsNeverLoadedAndGoes) {
  MakeTiers();
  {
    TestJob job(Options(2));
    RunUntilLocal(job);
    for (const auto& node : job.nodes) node->Kill();
  }
  const auto parts = FilesIn(Local(), "part-00001-of-00002.muster");
  ASSERT_EQ(parts.size(), 1U);
  std::filesystem::remove(parts[0]);
  TestJob job(Options(2));
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(job.Out(1, 0).find("nothing to load\n"), 0U) << job.Out(1, 0);
  EXPECT_TRUE(job.Until([&] { return FilesIn(Local(), ".safetensors").empty(); }));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdTiersTest, WithoutItsLocalStoreASaveGoesStraightToTheShareAndThatIsTold) {
  TestJob job(Options(1));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = Tiers(/*slow=*/false);  // A folder that is not there.
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(job.Out(0, 0), "nothing to load\nmemory is fresh\nstaged\nsaved\nwaits\n");
  EXPECT_TRUE(job.Until([&] {
    const auto& told = job.nodes[0]->progress;
    return std::any_of(told.begin(), told.end(), [&](const JobProgress& one) {
      return one.note.find("the local store " + Local() + " failed: ") != std::string::npos &&
             one.note.find("step 10 goes straight to " + Store()) != std::string::npos;
    });
  }));
  EXPECT_TRUE(job.End());
}

// ---- movers that stand or die -------------------------------------------------------------------

TEST_F(JobdLinkTest, AMoverThatStandsStillIsReplacedBeforeTheNextAttemptClaims) {
  TestJob job(Options(1));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .deadline_ms = 1000};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(SignalMovers(job, SIGSTOP), 1);
  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(job.Out(1, 0), "loaded step 10 right\nmemory was kept\nstaged\nsaved\nwaits\n");
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLinkTest, GoesOnWhenItsMoverIsKilled) {
  TestJob job(Options(1));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint.store = Store();
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(SignalMovers(job, SIGKILL), 1);
  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kSignal);
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  EXPECT_NE(job.Out(1, 0).find("loaded step 10 right"), std::string::npos) << job.Out(1, 0);
  EXPECT_TRUE(job.End());
}

}  // namespace
}  // namespace muster
