// How ranks are started: environments, folders, limits, cores, prolog and epilog.
#include <algorithm>
#include <map>

#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"
#include "tests/integration/cli/cli_test.h"

namespace muster::testing {
namespace {

using LaunchTest = CliTest;
using Texts = std::vector<std::string>;

const Texts kTwoByTwo = {"-N", "2", "--ranks-per-node", "2"};

Texts With(Texts options, const Texts& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

TEST_F(LaunchTest, SpeaksSlurmOnRequestOnly) {
  const std::string script = "echo ${SLURM_PROCID-none} ${SLURM_NTASKS-} ${SLURM_TASKS_PER_NODE-}";
  EXPECT_EQ(Lines(RunScript(kTwoByTwo, script).out),
            (Texts{"[0] none", "[1] none", "[2] none", "[3] none"}));
  EXPECT_EQ(Lines(RunScript(With(kTwoByTwo, {"--env-contract", "slurm"}), script).out),
            (Texts{"[0] 0 4 2(x2)", "[1] 1 4 2(x2)", "[2] 2 4 2(x2)", "[3] 3 4 2(x2)"}));
}

// An outer job of Slurm, that this one was submitted from.
TEST_F(LaunchTest, DoesNotTakeRanksForThoseOfAnOuterJob) {
  const Outcome run = Run({"run", "--", "/bin/sh", "-c", "echo ${SLURM_PROCID-none} $SLURM_JOB_ID"},
                          {"SLURM_PROCID=7", "SLURM_JOB_ID=99"});
  EXPECT_EQ(run.out, "none 99\n") << run.err;
}

TEST_F(LaunchTest, GivesEveryRankOneMasterPortThatIsFree) {
  const Outcome run =
      RunScript(kTwoByTwo, "echo $MASTER_ADDR $MASTER_PORT $JAX_COORDINATOR_ADDRESS");
  EXPECT_EQ(run.exit, 0) << run.err;
  std::vector<std::string> seen;
  for (const std::string& line : Lines(run.out)) seen.push_back(line.substr(4));
  ASSERT_EQ(seen.size(), 4U) << run.out;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), seen[0]), 4) << run.out;
  const std::vector<std::string> words = Split(seen[0], ' ');
  const auto port = ParseUnsigned(words[1]);
  ASSERT_TRUE(port.has_value()) << seen[0];
  EXPECT_GE(*port, 61000U);
  EXPECT_NE(words[2], words[0] + ":" + words[1]);
}

TEST_F(LaunchTest, SetsEnvironmentFolderAndLimits) {
  const std::string below = Path("below");
  ASSERT_EQ(mkdir(below.c_str(), 0755), 0);
  const Outcome run = Run(
      {"run", "--env", "A=one two", "--env", "B=", "--workdir", below, "--ulimit", "nofile=123",
       "--ulimit", "core=0", "--", "/bin/sh", "-c", "echo \"$A|$B|$C\"; pwd; ulimit -n; ulimit -c"},
      {"B=outer", "C=kept"});
  EXPECT_EQ(run.out, "one two||kept\n" + below + "\n123\n0\n") << run.err;
}

TEST_F(LaunchTest, TiesRanksToCoresOfTheirOwn) {
  const auto cpus = [&](const Texts& options) {
    const Outcome run = RunScript(options, "sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status");
    EXPECT_EQ(run.exit, 0) << run.err;
    return Lines(run.out);
  };
  const Texts one = {"--ranks-per-node", "1", "--bind", "core"};
  const Texts two = {"--ranks-per-node", "2", "--bind", "core"};
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "one CPU: nothing to tie to";
  const Texts bound = cpus(two);
  ASSERT_EQ(bound.size(), 2U);
  EXPECT_NE(bound[0].substr(4), bound[1].substr(4));
  // More ranks than cores: nobody is bound, and the run goes on.
  const Texts many = cpus({"--ranks-per-node", "64", "--bind", "core"});
  ASSERT_EQ(many.size(), 64U);
  EXPECT_EQ(many[0].substr(4), cpus({"--ranks-per-node", "1"})[0]);
}

TEST_F(LaunchTest, RunsTheirPrologFirstAndTheirEpilogLast) {
  const std::string log = Path("order");
  const auto say = [&](const std::string& what) { return "echo " + what + " >> " + log; };
  const Outcome run =
      RunScript(With(kTwoByTwo, {"--prolog", say("prolog $MUSTER_NODE_RANK ${RANK-}"), "--epilog",
                                 say("epilog $MUSTER_NODE_RANK $MUSTER_ATTEMPT")}),
                say("rank"));
  EXPECT_EQ(run.exit, 0) << run.err;
  const Texts lines = Split(*ReadFile(log), '\n');
  ASSERT_EQ(lines.size(), 9U) << *ReadFile(log);  // The last is empty.
  EXPECT_EQ(Texts(lines.begin() + 2, lines.begin() + 6), Texts(4, "rank"));
  Texts prologs(lines.begin(), lines.begin() + 2), epilogs(lines.begin() + 6, lines.begin() + 8);
  std::sort(prologs.begin(), prologs.end());
  std::sort(epilogs.begin(), epilogs.end());
  EXPECT_EQ(prologs, (Texts{"prolog 0", "prolog 1"}));
  EXPECT_EQ(epilogs, (Texts{"epilog 0 0", "epilog 1 0"}));
}

TEST_F(LaunchTest, StartsNoRankWhereAPrologFails) {
  const Outcome run = RunScript(
      With(kTwoByTwo, {"--prolog", "echo no scratch disk; exit $((3 * MUSTER_NODE_RANK))"}),
      "touch started");
  EXPECT_EQ(run.exit, 71);
  EXPECT_NE(run.err.find("the prolog on node n1 left with exit code 3: no scratch disk"),
            std::string::npos)
      << run.err;
  EXPECT_NE(access(Path("started").c_str(), F_OK), 0);
}

TEST_F(LaunchTest, KillsAnEpilogThatTakesLongerThanTheGrace) {
  const Outcome run =
      RunScript({"--grace", "100ms", "--epilog", "echo > began; sleep 1000; echo > ended"}, "true");
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(access(Path("began").c_str(), F_OK), 0);
  EXPECT_NE(access(Path("ended").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace muster::testing
