// Open MPI ranks under the job daemon: start, kill and restart, abort, singletons, a lo-only host.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "tests/integration/jobd/test_job_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster {
namespace {

class JobdMpiTest : public testing::CleanTest {
 protected:
  TestJobOptions Options(std::uint32_t hosts, std::uint32_t ranks,
                         const std::vector<std::string>& more = {}) const {
    std::vector<std::string> argv = {MPI_HELLO};
    argv.insert(argv.end(), more.begin(), more.end());
    return {.folder = scene_.folder(), .hosts = hosts, .ranks_per_host = ranks, .argv = argv};
  }
};

std::string Hello(std::uint32_t hosts, std::uint32_t ranks) {
  const std::uint32_t world = hosts * ranks;
  return "of " + std::to_string(world) + ", " + std::to_string(ranks) +
         " on this node: the sum is " + std::to_string(world * (world + 1) / 2) + ", right";
}

void RunsHello(const TestJobOptions& options) {
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text << job.Err(0, 0);
  EXPECT_TRUE(job.AllSay(0, Hello(options.hosts, options.ranks_per_host))) << job.Out(0, 0);
  for (const auto& node : job.nodes) EXPECT_TRUE(node->marks[0].contains(Mark::kMpiUp));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdMpiTest, SumsOverOneHost) {
  RunsHello(Options(1, 4));
}

TEST_F(JobdMpiTest, SumsOverTwoHosts) {
  RunsHello(Options(2, 2));
  RunsHello(Options(2, 4));
}

TEST_F(JobdMpiTest, SumsAsAnUnprivilegedUser) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  ASSERT_EQ(chmod(scene_.folder().c_str(), 0755), 0);
  TestJobOptions options = Options(2, 2);
  options.uid = 54321;  // Has no entry in passwd.
  options.argv = {scene_.folder() + "/hello"};
  ASSERT_TRUE(WriteFileAtomically(options.argv[0], *ReadFile(MPI_HELLO), 0755).ok());
  ASSERT_EQ(chmod(options.argv[0].c_str(), 0755), 0);
  options.prefix = {"/usr/bin/setpriv", "--reuid=54321",  "--regid=54321",
                    "--clear-groups",   "--no-new-privs", "--bounding-set=-all"};
  RunsHello(options);
}

TEST_F(JobdMpiTest, SumsOverTwoHostsWhereOnlyLoIsUp) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNET) != 0 || std::system("ip link set lo up") != 0) _exit(2);
    RunsHello(Options(2, 8));
    _exit(HasFailure() ? 1 : 0);
  }
  int wait_status = 0;
  ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  EXPECT_TRUE(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) << wait_status;
}

// Milliseconds from `begin` to a mark of the attempt, on the host where it came last.
double After(const TestJob& job, AttemptNumber attempt, Mark mark, std::int64_t begin_us) {
  std::int64_t last = 0;
  for (const auto& node : job.nodes) {
    const auto marks = node->marks.find(attempt);
    if (marks == node->marks.end() || !marks->second.contains(mark)) continue;
    last = std::max(last, marks->second.at(mark));
  }
  return static_cast<double>(last - begin_us) / 1000;
}

std::int64_t NowMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// When the last rank had its sum, as the ranks tell it.
std::int64_t LastSum(const TestJob& job, AttemptNumber attempt, std::uint32_t ranks) {
  double last = 0;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    const std::string out = job.Out(attempt, rank);
    last = std::max(last, std::stod(out.substr(out.rfind("sum ") + 4)));
  }
  return static_cast<std::int64_t>(last * 1e6);
}

TEST_F(JobdMpiTest, RestartsAfterEachKillInOneLifeOfTheDaemons) {
  constexpr AttemptNumber kKills = 10;
  const auto seed = static_cast<std::uint32_t>(getpid());
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  TestJob job(Options(2, 4, {"--seconds", "1000"}));
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, Hello(2, 4)); })) << job.FirstCause().text;
  const std::vector<Instance> lives = {job.nodes[0]->status.instance,
                                       job.nodes[1]->status.instance};
  std::vector<double> totals;
  std::puts("  kill of  seen  all gone  forked  MPI up  first sum (ms after the kill)");
  for (AttemptNumber attempt = 0; attempt < kKills; ++attempt) {
    const auto victim = static_cast<std::uint32_t>(random() % 8);
    const pid_t pid = job.PidOf(victim);
    ASSERT_GT(pid, 0);
    const std::int64_t killed = NowMicroseconds();
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
    EXPECT_EQ(job.FirstCause().kind, CauseKind::kSignal) << job.FirstCause().text;
    EXPECT_EQ(job.FirstCause().rank, static_cast<std::int32_t>(victim));
    job.Start(attempt + 1);
    ASSERT_TRUE(job.Until([&] { return job.AllSay(attempt + 1, Hello(2, 4)); }))
        << job.FirstCause().text;
    totals.push_back(static_cast<double>(LastSum(job, attempt + 1, 8) - killed) / 1000);
    std::printf("  rank %2u %6.1f %9.1f %7.1f %7.1f %10.1f\n", victim,
                After(job, attempt, Mark::kFailureSeen, killed),
                After(job, attempt, Mark::kAllGone, killed),
                After(job, attempt + 1, Mark::kRanksForked, killed),
                After(job, attempt + 1, Mark::kMpiUp, killed), totals.back());
  }
  std::sort(totals.begin(), totals.end());
  std::printf("  kill to first sum: median %.1f ms\n", totals[totals.size() / 2]);
  for (const auto& node : job.nodes) {
    EXPECT_EQ(node->status.instance, lives[node == job.nodes[1] ? 1 : 0]);
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdMpiTest, NamesTheRankThatAborted) {
  TestJob job(Options(2, 2, {"--abort", "3", "--seconds", "1000"}));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  for (const auto& node : job.nodes) {
    EXPECT_EQ(node->status.cause.kind, CauseKind::kAborted) << node->status.cause.text;
    EXPECT_EQ(node->status.cause.rank, 3);
    EXPECT_EQ(node->status.cause.code, 7);
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdMpiTest, FindsRanksThatRunAlone) {
  for (const std::string seconds : {"0", "1000"}) {
    TestJobOptions options = Options(2, 2);
    options.argv = {"env", "-u", "JSM_JSRUN_PORT", MPI_HELLO, "--seconds", seconds};
    TestJob job(options);
    job.Start(0);
    ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
    EXPECT_EQ(job.FirstCause().kind, CauseKind::kSingleton) << job.FirstCause().text;
    EXPECT_NE(job.FirstCause().text.find("never met muster's PMIx server"), std::string::npos);
    EXPECT_TRUE(job.End());
  }
}

TEST_F(JobdMpiTest, LeavesAProgramAloneThatIsOnlyLinkedWithMpi) {
  // --version would not do: the program must run on.  ldd maps libmpi but never starts MPI.
  TestJobOptions options = Options(1, 2);
  options.argv = {"sh", "-c", "LD_PRELOAD=libmpi.so.40 sleep 4; echo well"};
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  EXPECT_TRUE(job.AllSay(0, "well"));
  EXPECT_TRUE(job.End());
}

}  // namespace
}  // namespace muster
