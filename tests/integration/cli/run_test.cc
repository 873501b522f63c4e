// `muster run` on a private cluster.
#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/base/text.h"
#include "tests/integration/cli/cli_test.h"

namespace muster::testing {
namespace {

using RunTest = CliTest;
using nlohmann::json;

std::string RandomBytes(std::size_t size) {
  const auto seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 engine(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(engine());
  return bytes;
}

TEST_F(RunTest, RunsATrivialProgramAndLeavesNothing) {
  const Outcome run = Run({"run", "-N", "1", "--", "/bin/true"});
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err, "");
}

TEST_F(RunTest, GivesEachRankOfTwoNodesItsPlace) {
  const Outcome run = RunScript({"-N", "2", "--ranks-per-node", "2"},
                                "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE");
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(Lines(run.out),
            (std::vector<std::string>{"[0] 0 4 0 2", "[1] 1 4 1 2", "[2] 2 4 0 2", "[3] 3 4 1 2"}));
}

TEST_F(RunTest, TakesAllNodesOfItsOwnClusterWhereFewerWouldDo) {
  const Outcome run = RunScript({"-N", "1:3", "--ranks-per-node", "1"}, "echo $WORLD_SIZE");
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(Lines(run.out), (std::vector<std::string>{"[0] 3", "[1] 3", "[2] 3"}));
}

TEST_F(RunTest, LeavesWithTheExitStatusOfTheProgram) {
  for (const int exit : {1, 2, 3, 77, 255}) {
    EXPECT_EQ(RunScript({}, "exit " + std::to_string(exit)).exit, exit);
  }
}

TEST_F(RunTest, SaysWhichRankFailedFirstAndItsLastWords) {
  const Outcome run = RunScript({"-N", "2", "--ranks-per-node", "2"},
                                "[ $RANK = 3 ] || exec sleep 1000; echo went wrong >&2; exit 5");
  EXPECT_EQ(run.exit, 5);
  EXPECT_NE(run.err.find("[3] went wrong\n"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("rank 3 on n1 (slot 1) left with exit status 5"), std::string::npos)
      << run.err;
  EXPECT_NE(run.err.find("    went wrong\n"), std::string::npos) << run.err;
}

TEST_F(RunTest, LeavesWith128AndTheSignal) {
  EXPECT_EQ(RunScript({}, "kill -9 $$").exit, 137);
  const Outcome run = RunScript({}, "kill -SEGV $$");
  EXPECT_EQ(run.exit, 139);
  EXPECT_NE(run.err.find("was killed by SIGSEGV"), std::string::npos) << run.err;
}

TEST_F(RunTest, LeavesWith127WhenTheProgramIsNotThere) {
  const Outcome run = Run({"run", "--", "/no/such/program"});
  EXPECT_EQ(run.exit, 127);
  EXPECT_NE(run.err.find("not found"), std::string::npos) << run.err;
  EXPECT_EQ(Run({"run", "--", "no-such-program-in-path"}).exit, 127);
}

TEST_F(RunTest, LeavesWith126WhenTheProgramCannotBeExecuted) {
  const Outcome run = Run({"run", "--", Write("plain", "text\n")});
  EXPECT_EQ(run.exit, 126);
  EXPECT_NE(run.err.find("cannot be run"), std::string::npos) << run.err;
}

TEST_F(RunTest, TellsAProgramsTwoFromItsOwn) {
  const Outcome program = RunScript({"--json"}, "exit 2");
  EXPECT_EQ(program.exit, 2);
  EXPECT_NE(program.out.find("\"source\":\"program\""), std::string::npos) << program.out;
  const Outcome ours =
      Run({"run", "--json", "-N", "1", "--slots", "1", "--ranks-per-node", "2", "--", "/bin/true"});
  EXPECT_EQ(ours.exit, 2);
  EXPECT_NE(ours.out.find("\"source\": \"muster\""), std::string::npos) << ours.out;
}

TEST_F(RunTest, SaysEachLineAndTheEndAsJson) {
  const Outcome run = RunScript({"--json", "-N", "2"},
                                "echo out $RANK; printf 'err\\377' >&2; touch said$RANK; "
                                "while [ ! -e said0 ]; do sleep 0.01; done; exit $((RANK * 3))");
  EXPECT_EQ(run.exit, 3);
  EXPECT_EQ(run.err, "");
  std::vector<std::string> lines = Split(run.out, '\n');
  ASSERT_EQ(lines.size(), 6U) << run.out;  // The last is empty.
  std::vector<std::string> said;
  for (std::size_t i = 0; i < 4; ++i) {
    const json line = json::parse(lines[i], nullptr, false);
    ASSERT_TRUE(line.is_object()) << lines[i];
    said.push_back(line.value("node", "") + " " + std::to_string(line.value("rank", -1)) + " " +
                   line.value("stream", "") + " " + line.value("text", line.value("base64", "")));
  }
  std::sort(said.begin(), said.end());
  EXPECT_EQ(said, (std::vector<std::string>{"n0 0 stderr ZXJy/w==", "n0 0 stdout out 0",
                                            "n1 1 stderr ZXJy/w==", "n1 1 stdout out 1"}));
  EXPECT_EQ(json::parse(lines[4], nullptr, false).value("exit", -1), 3) << lines[4];
}

TEST_F(RunTest, KeepsEveryByteOfASingleRank) {
  const std::string out = RandomBytes(300'001), err = RandomBytes(50'001);
  Write("out", out);
  Write("err", err);
  const Outcome run = RunScript({}, "cat out; cat err >&2");
  EXPECT_EQ(run.exit, 0);
  EXPECT_TRUE(run.out == out);
  EXPECT_TRUE(run.err == err);
}

TEST_F(RunTest, KeepsTheLinesOfManyRanksWhole) {
  constexpr int kRanks = 4, kLines = 2000;
  const Outcome run =
      RunScript({"-N", "2", "--ranks-per-node", "2"},
                "i=0; while [ $i -lt 2000 ]; do echo rank $RANK line $i; i=$((i+1)); done");
  EXPECT_EQ(run.exit, 0) << run.err;
  std::map<int, int> next;
  std::vector<std::string> lines = Split(run.out, '\n');
  ASSERT_EQ(lines.size(), kRanks * kLines + 1U);
  lines.pop_back();
  for (const std::string& line : lines) {
    const int rank = line.at(1) - '0';
    const std::string expected = "[" + std::to_string(rank) + "] rank " + std::to_string(rank) +
                                 " line " + std::to_string(next[rank]++);
    ASSERT_EQ(line, expected);
  }
}

TEST_F(RunTest, TakesOverTheCallersSurroundings) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit fewer = {.rlim_cur = 277, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &fewer), 0);
  const mode_t mask = umask(027);
  const auto program =
      Start({"run", "--", "/bin/sh", "-c", "pwd; umask; ulimit -S -n; echo \"$SPECIAL\""},
            {"SPECIAL=a b\tc"});
  umask(mask);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(program->Wait(), 0) << program->err();
  EXPECT_EQ(program->out(), scene_.folder() + "\n0027\n277\na b\tc\n");
}

TEST_F(RunTest, StartsAgainAsOftenAsAsked) {
  const std::string script =
      "echo try >>tries; [ $(wc -l <tries) -ge 3 ] || exit 9; echo third time";
  const Outcome run = RunScript({"--max-restarts", "2"}, script);
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(run.out, "third time\n");
}

TEST_F(RunTest, GivesUpAfterTheLastRestart) {
  const Outcome run = RunScript({"--max-restarts", "1"}, "echo try >>tries; exit 9");
  EXPECT_EQ(run.exit, 9);
  EXPECT_EQ(RunScript({}, "exit $(wc -l <tries)").exit, 2);
}

TEST_F(RunTest, EndsAJobAtItsTimeLimit) {
  const Outcome run = RunScript({"--time-limit", "1s", "--grace", "100ms"}, "exec sleep 1000");
  EXPECT_EQ(run.exit, 124) << run.err;
  EXPECT_NE(run.err.find("time limit"), std::string::npos) << run.err;
}

// ---- mistakes -----------------------------------------------------------------------------------

TEST_F(RunTest, SaysWhatWouldFitWhenThereAreMoreRanksThanSlots) {
  const Outcome run =
      Run({"run", "-N", "2", "--slots", "2", "--ranks-per-node", "3", "--", "/bin/true"});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("needs 2 nodes with 3 slots each; the cluster has 0 such; "
                         "2 nodes with 2 slots each would fit"),
            std::string::npos)
      << run.err;
  EXPECT_NE(run.err.find("n0: has only 2 slots"), std::string::npos) << run.err;
}

TEST_F(RunTest, RefusesAStateFolderThatIsTooLong) {
  const Outcome run =
      Run({"run", "--", "/bin/true"}, {"MUSTER_STATE_DIR=/tmp/" + std::string(2000, 'x')});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("too long"), std::string::npos) << run.err;
}

TEST_F(RunTest, RefusesARuntimeFolderThatIsTooLongForSockets) {
  const std::string deep = Path("run") + "/" + std::string(80, 'x');
  ASSERT_EQ(mkdir(deep.c_str(), 0777), 0);
  ASSERT_EQ(chmod(deep.c_str(), 0777), 0);
  const Outcome run = Run({"run", "--", "/bin/true"}, {"XDG_RUNTIME_DIR=" + deep});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("at most 100 are allowed"), std::string::npos) << run.err;
  EXPECT_EQ(rmdir(deep.c_str()), 0);
}

TEST_F(RunTest, RefusesAStateFolderOfAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const std::string theirs = Path("theirs");
  ASSERT_EQ(mkdir(theirs.c_str(), 0777), 0);
  ASSERT_EQ(chmod(theirs.c_str(), 0777), 0);
  ASSERT_EQ(chown(theirs.c_str(), 4711, 4711), 0);
  const Outcome run = Run({"run", "--", "/bin/true"}, {"MUSTER_STATE_DIR=" + theirs});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("belongs to uid 4711"), std::string::npos) << run.err;
}

TEST_F(RunTest, RefusesAStateFolderThatIsAFile) {
  const Outcome run =
      Run({"run", "--", "/bin/true"}, {"MUSTER_STATE_DIR=" + Write("file", "text")});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("not a folder"), std::string::npos) << run.err;
}

TEST_F(RunTest, RefusesToDetachFromAClusterThatEndsWithIt) {
  const Outcome run = Run({"run", "--detach", "--", "/bin/true"});
  EXPECT_EQ(run.exit, 2);
  EXPECT_NE(run.err.find("muster up"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace muster::testing
