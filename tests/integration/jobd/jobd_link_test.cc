// What ranks get over their links: memory that outlives them, checkpoints, the word to stop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/integration/jobd/dead_share_posix.h"
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

std::vector<pid_t> MoversOf(const TestJob& job) {
  std::vector<pid_t> movers;
  for (const pid_t pid : job.Carriers()) {
    const auto line = ReadFile("/proc/" + std::to_string(pid) + "/cmdline");
    if (line.ok() && *line == std::string("muster\0mover\0", 13)) movers.push_back(pid);
  }
  return movers;
}

// How many movers of the job got the signal.
int SignalMovers(const TestJob& job, int signal) {
  int signalled = 0;
  for (const pid_t pid : MoversOf(job)) signalled += kill(pid, signal) == 0;
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

// A newer commit, then a file of a writer that nobody knows any more.
TEST_F(JobdLinkTest, WhatIsThereAlreadyCostsASaveAndNotTheJob) {
  TestJobOptions options = Options(1);
  options.argv.insert(options.argv.end(), {"when-told", scene_.folder()});
  TestJob job(options);
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint.store = Store();
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  const auto save = [&](const std::string& step) {
    EXPECT_TRUE(WriteFileAtomically(scene_.folder() + "/save-" + step, "").ok());
    const std::string over = "step " + step + " is over\n";
    EXPECT_TRUE(job.Until([&] { return job.Out(0, 0).find(over) != std::string::npos; }))
        << job.FirstCause().text;
    const std::string out = job.Out(0, 0);
    return out.substr(out.rfind("staged\n"));
  };
  const std::string run = Store() + "/" + job.order.run_id;
  const std::string newer = run + "/commits/g0000000001-s000000000099.json";
  ASSERT_TRUE(WriteFileAtomically(newer, "").ok());
  EXPECT_NE(save("30").find("99.json is there, and newer than step 30"), std::string::npos)
      << job.Out(0, 0);
  ASSERT_EQ(unlink(newer.c_str()), 0);

  std::string folder;  // Of the attempt's nonce, as the first save's.
  for (const auto& one : std::filesystem::directory_iterator(run + "/data")) folder = one.path();
  const std::size_t step = folder.find("-s0") + 2;
  folder.replace(step, 12, "000000000040");
  ASSERT_TRUE(MakeFolders(folder).ok());
  const std::string file = folder + "/.shard-00000-of-00001.safetensors.tmp";
  ASSERT_TRUE(WriteFileAtomically(file, "another's").ok());
  EXPECT_NE(save("40").find(file + ": File exists"), std::string::npos) << job.Out(0, 0);
  EXPECT_EQ(*ReadFile(file), "another's");
  EXPECT_EQ(save("50"), "staged\nsaved\nstep 50 is over\n");
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  EXPECT_TRUE(job.End());
}

// The folder of its commits is none for a while.
TEST_F(JobdLinkTest, ACommitThatFailsForAReasonThatPassesIsTriedAgainAndTheJobNotStopped) {
  TestJobOptions options = Options(2);
  options.argv.emplace_back("saves-at-the-end");
  TestJob job(options);
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store()};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  const std::string commits = Store() + "/" + job.order.run_id + "/commits";
  std::filesystem::rename(commits, commits + ".away");
  ASSERT_TRUE(WriteFileAtomically(commits, "").ok());
  job.SendAll(StopAttempt{job.order.job, 0, 100000});
  ASSERT_TRUE(job.Until([&] {
    const auto& told = job.nodes[0]->progress;
    return std::any_of(told.begin(), told.end(), [](const JobProgress& one) {
      return one.note.find("is written, not yet committed, and tried again: ") != std::string::npos;
    });
  }));
  EXPECT_EQ(job.Out(0, 0).find("not saved"), std::string::npos) << job.Out(0, 0);
  std::filesystem::remove(commits);
  std::filesystem::rename(commits + ".away", commits);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.AllSay(0, "stops")) << job.FirstCause().text;
  for (const std::uint32_t rank : {0U, 2U}) {
    EXPECT_EQ(job.Out(0, rank).find("not saved"), std::string::npos) << job.Out(0, rank);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(commits), {}), 2);
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

std::size_t Files(const std::string& folder) {
  std::error_code none;
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder, none), {}));
}

// As when a job may not be started again: no attempt comes that could commit it.
TEST_F(JobdLinkTest, WhatTheLastAttemptStagedOnSeveralNodesIsCommittedWhenTheJobEnds) {
  TestJob job(Options(2));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .bytes_per_s = 6000};
  job.Start(0);
  ASSERT_TRUE(job.Until(
      [&] { return job.Out(0, 0).ends_with("staged\n") && job.Out(0, 2).ends_with("staged\n"); }));
  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  const std::string commits = Store() + "/" + job.order.run_id + "/commits";
  EXPECT_EQ(Files(commits), 0U) << job.Out(0, 0);
  EXPECT_TRUE(job.End());
  EXPECT_EQ(Files(commits), 1U);
}

// Half a minute; the store gets on all the time.
TEST_F(JobdLinkTest, WhatIsStillBeingWrittenWhenTheJobEndsIsWrittenToItsEndAndCommitted) {
  TestJob job(Options(1));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .deadline_ms = 2000, .bytes_per_s = 250};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.Out(0, 0).ends_with("staged\n"); })) << job.Out(0, 0);
  EXPECT_TRUE(job.End());
  EXPECT_EQ(Files(Store() + "/" + job.order.run_id + "/commits"), 1U);
}

TEST_F(JobdLinkTest, WhatCannotBeCommittedWhenTheJobEndsIsToldWithWhatTakesIt) {
  TestJob job(Options(2));
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .deadline_ms = 1000, .bytes_per_s = 6000};
  job.Start(0);
  ASSERT_TRUE(job.Until(
      [&] { return job.Out(0, 0).ends_with("staged\n") && job.Out(0, 2).ends_with("staged\n"); }));
  job.nodes[1]->Kill();  // With its mover, in the middle of its part.
  ASSERT_TRUE(job.Until([&] { return job.nodes[0]->status.phase == MemberPhase::kLeft; }));
  auto& head = *job.nodes[0];
  head.Send(EndJob{job.order.job});
  while (head.fd() >= 0) head.Read();
  EXPECT_EQ(head.Wait(), 0);
  const auto& told = head.progress;
  EXPECT_TRUE(std::any_of(told.begin(), told.end(), [&](const JobProgress& one) {
    return one.note.find(
               "the checkpoint of step 10 is not committed: 1 of its 2 parts are in the "
               "store; once all are, `muster ckpt adopt " +
               Store() + " " + job.order.run_id + " --commit g1-s10`") != std::string::npos;
  }));
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
  static void FillUp(const std::string& file) {
    std::ofstream fill(file, std::ios::app);
    while (fill.write(std::string(4096, 'x').data(), 4096).flush()) {
    }
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

// It stands in one of two pipes that have no writer, whichever it comes to, until it is killed.
TEST_F(JobdTiersTest, AMoverThatDiesWhileItLooksForWhatIsOnTheLocalDiskCostsNothing) {
  MakeTiers();
  {
    TestJob job(Options(2));
    RunUntilLocal(job);
    for (const auto& node : job.nodes) node->Kill();
  }
  const auto parts = FilesIn(Local(), "part-00001-of-00002.muster");
  ASSERT_EQ(parts.size(), 1U);
  std::vector<std::string> pipes;
  for (const char* step : {"000000000004", "000000000005"}) {
    std::string pipe = parts[0];
    pipe.replace(pipe.rfind("-s0") + 2, 12, step);
    ASSERT_TRUE(MakeFolders(pipe.substr(0, pipe.rfind('/'))).ok());
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    pipes.push_back(pipe);
  }
  TestJob job(Options(2));
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.Start(1);
  ASSERT_TRUE(job.Until([&] {
    return std::any_of(pipes.begin(), pipes.end(), [](const std::string& pipe) {
      return UniqueFd(open(pipe.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)).valid();
    });
  }));
  EXPECT_GE(SignalMovers(job, SIGKILL), 1);
  std::vector<UniqueFd> writers;  // The next one does not stand there.
  for (const std::string& pipe : pipes) {
    writers.emplace_back(open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  }
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

// A small tmpfs that fills up while what it has is being moved.
TEST_F(JobdTiersTest, AFullLocalDiskGivesUpWhatItHasTakesNothingNewAndIsUsedAgainWhenThereIsRoom) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  ASSERT_TRUE(MountsOfOnesOwn());
  TestJobOptions options = Options(1);
  options.argv.insert(options.argv.end(), {"when-told", scene_.folder()});
  TestJob job(options);
  MakeTiers();
  ASSERT_EQ(mount("muster-test", Local().c_str(), "tmpfs", 0, "size=64k"), 0);
  job.order.checkpoint = Tiers(/*slow=*/false);
  job.order.checkpoint.bytes_per_s = 8000;  // A second a save.
  job.Start(0);
  ASSERT_TRUE(job.Until([&] {
    return job.Out(0, 0).find("on the local disk\n") != std::string::npos;
  })) << job.Out(0, 0);
  const std::string ballast = Local() + "/ballast";
  FillUp(ballast);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  EXPECT_TRUE(job.Out(0, 0).ends_with("on the local disk\nsaved\nwaits\n")) << job.Out(0, 0);
  EXPECT_TRUE(job.Until([&] { return FilesIn(Local(), ".safetensors").empty(); }));

  FillUp(ballast);  // The room that the first one gave back.
  EXPECT_EQ(std::filesystem::space(Local()).available, 0U);
  const auto save = [&](const std::string& step) {
    EXPECT_TRUE(WriteFileAtomically(scene_.folder() + "/save-" + step, "").ok());
    const std::string over = "step " + step + " is over\n";
    EXPECT_TRUE(job.Until([&] { return job.Out(0, 0).find(over) != std::string::npos; }));
    return job.Out(0, 0);
  };
  EXPECT_TRUE(save("30").ends_with("waits\nmemory was kept\nstaged\nsaved\nstep 30 is over\n"))
      << job.Out(0, 0);
  EXPECT_TRUE(job.Until([&] {
    const auto& told = job.nodes[0]->progress;
    return std::any_of(told.begin(), told.end(), [&](const JobProgress& one) {
      return one.note.find("the local store " + Local() + " failed: ") != std::string::npos &&
             one.note.find("No space left on device; step 30 goes straight") != std::string::npos;
    });
  }));
  std::filesystem::remove(ballast);
  for (const std::string step : {"40", "50"}) {
    EXPECT_TRUE(
        save(step).ends_with("staged\non the local disk\nsaved\nstep " + step + " is over\n"))
        << job.Out(0, 0);
  }
  EXPECT_TRUE(job.End());
  EXPECT_TRUE(FilesIn(Local(), "").empty());
  EXPECT_EQ(FilesIn(Store() + "/" + job.order.run_id + "/commits", ".json").size(),
            3U);  // As many are kept.
  EXPECT_EQ(umount(Local().c_str()), 0);
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

// A share whose server takes a request and says nothing: no kill ends its mover.
TEST_F(JobdLinkTest, AMoverInStateDIsLeftBehindToldAndReplacedAndTheJobEndsWithoutIt) {
  if (!DeadShare::Possible()) GTEST_SKIP() << "skipped: needs root and /dev/fuse";
  ASSERT_TRUE(MountsOfOnesOwn());
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // Whoever its daemon leaves behind comes here.
  TestJobOptions options = Options(1);
  options.argv.insert(options.argv.end(), {"when-told", scene_.folder()});
  TestJob job(options);
  ASSERT_TRUE(MakeFolders(Store()).ok());
  job.order.checkpoint = {.store = Store(), .deadline_ms = 1000};
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "waits"); })) << job.FirstCause().text;
  const std::vector<pid_t> first = MoversOf(job);
  ASSERT_EQ(first.size(), 1U);
  const auto save = [&](const std::string& step) {
    const std::string told = scene_.folder() + "/save-" + step;
    EXPECT_TRUE(WriteFileAtomically(told, "").ok());
    EXPECT_TRUE(job.Until([&] {
      return job.Out(0, 0).find("step " + step + " is over") != std::string::npos;
    })) << job.Out(0, 0)
        << job.FirstCause().text;
    EXPECT_EQ(unlink(told.c_str()), 0);
  };

  DeadShare share(Store() + "/" + job.order.run_id + "/data");
  save("30");
  EXPECT_TRUE(share.Caught());
  EXPECT_TRUE(job.Until([&] { return StateOf(first[0]) == 'D'; })) << "killed, and there";
  const std::string out = job.Out(0, 0);
  EXPECT_NE(out.find("not saved: node n0: the store has not answered for "), std::string::npos)
      << out;
  EXPECT_NE(out.find("mkdir 777"), std::string::npos) << out;

  share.Unmount();
  save("40");
  EXPECT_NE(job.Out(0, 0).find("saved\nstep 40 is over"), std::string::npos) << job.Out(0, 0);
  EXPECT_EQ(StateOf(first[0]), 'D') << "its successor saved";
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;

  ASSERT_EQ(kill(job.PidOf(0), SIGKILL), 0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  job.Start(1);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(1, "waits"); })) << job.FirstCause().text;
  EXPECT_EQ(job.Out(1, 0).find("loaded step 40 right\n"), 0U) << job.Out(1, 0);
  EXPECT_TRUE(job.End());
  EXPECT_EQ(StateOf(first[0]), 'D') << "the job ended without it";
  share.Abort();
  int status = 0;
  EXPECT_EQ(waitpid(first[0], &status, 0), first[0]);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
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
