// What ranks get over their links: memory that outlives them, checkpoints, the word to stop.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

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
