// What ends a run before its program does: Ctrl-C, a closed terminal, and the death of each part.
#include <signal.h>

#include "tests/integration/cli/cli_test.h"

namespace muster::testing {
namespace {

using StopTest = CliTest;

// Says that it runs, then waits for the file `go`, and says so.
const char* const kWaitForGo = "echo ready; while [ ! -e go ]; do sleep 0.05; done; echo went";

TEST_F(StopTest, CtrlCOnceGivesGrace) {
  const auto run = StartScript({},
                               "trap 'echo bye; exit 0' TERM; echo ready; "
                               "while :; do sleep 0.05; done");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  run->Signal(SIGINT);
  EXPECT_EQ(run->Wait(), 130) << run->err();
  EXPECT_EQ(run->out(), "ready\nbye\n");
}

TEST_F(StopTest, CtrlCTwiceKillsNow) {
  const auto run = StartScript({"--grace", "10m"},
                               "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  run->Signal(SIGINT);
  ASSERT_TRUE(run->AwaitOutput("no\n")) << run->err();
  run->Signal(SIGINT);
  EXPECT_EQ(run->Wait(), 130) << run->err();
}

TEST_F(StopTest, AJobThatIgnoresTheQuestionIsKilledAfterItsGrace) {
  const auto run = StartScript({"-N", "2", "--grace", "200ms"},
                               "trap '' TERM; echo ready; while :; do sleep 0.05; done");
  ASSERT_TRUE(run->AwaitOutput("[0] ready\n")) << run->err();
  ASSERT_TRUE(run->AwaitOutput("[1] ready\n")) << run->err();
  run->Signal(SIGINT);
  EXPECT_EQ(run->Wait(), 130) << run->err();
}

TEST_F(StopTest, AClosedTerminalEndsTheJob) {
  const auto run = StartScript({"--grace", "200ms"}, "echo ready; exec sleep 1000");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  run->Signal(SIGHUP);
  EXPECT_EQ(run->Wait(), 129) << run->err();
}

TEST_F(StopTest, SigtermEndsTheJob) {
  const auto run = StartScript({"--grace", "200ms"}, "echo ready; exec sleep 1000");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  run->Signal(SIGTERM);
  EXPECT_EQ(run->Wait(), 143) << run->err();
}

TEST_F(StopTest, AReaderThatGoesAwayEndsTheJob) {
  const auto run = StartScript({"--grace", "200ms"}, "while :; do echo yes; done");
  ASSERT_TRUE(run->AwaitOutput("yes\n")) << run->err();
  run->CloseOutput();
  EXPECT_EQ(run->Wait(), 141) << run->err();
}

// What the ranks started, and started apart from themselves, goes too.
TEST_F(StopTest, ARunThatIsKilledLeavesNothing) {
  const auto run = StartScript({"-N", "2", "--ranks-per-node", "2", "--grace", "200ms"},
                               "setsid sleep 1000 & (sleep 1000 &) ; trap '' TERM; echo ready; "
                               "while :; do sleep 0.05; done");
  for (const char* rank : {"[0] ready\n", "[1] ready\n", "[2] ready\n", "[3] ready\n"}) {
    ASSERT_TRUE(run->AwaitOutput(rank)) << run->err();
  }
  run->Signal(SIGKILL);
  EXPECT_EQ(run->Wait(), 137);
  EXPECT_EQ(scene_.Leftovers(30'000), std::vector<std::string>());
}

TEST_F(StopTest, ACoordinatorThatIsKilledDoesNotDisturbTheJob) {
  const auto run = StartScript({"-N", "2"}, kWaitForGo);
  ASSERT_TRUE(run->AwaitOutput("[0] ready\n")) << run->err();
  ASSERT_TRUE(run->AwaitOutput("[1] ready\n")) << run->err();
  const auto before = AwaitPart("coordinator", scene_);
  ASSERT_TRUE(before.has_value());
  kill(*before, SIGKILL);
  ASSERT_TRUE(AwaitPart("coordinator", scene_, *before).has_value());
  Write("go", "");
  EXPECT_EQ(run->Wait(), 0) << run->err();
  EXPECT_EQ(Lines(run->out()),
            (std::vector<std::string>{"[0] ready", "[0] went", "[1] ready", "[1] went"}))
      << run->err();
}

TEST_F(StopTest, AnAgentThatIsKilledDoesNotDisturbTheJob) {
  const auto run = StartScript({}, kWaitForGo);
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  const auto jobd = AwaitPart("jobd", scene_);
  const auto before = AwaitPart("agent", scene_);
  ASSERT_TRUE(jobd && before);
  kill(*before, SIGKILL);
  ASSERT_TRUE(AwaitPart("agent", scene_, *before).has_value());
  EXPECT_EQ(kill(*jobd, 0), 0);  // The same one goes on.
  Write("go", "");
  EXPECT_EQ(run->Wait(), 0) << run->err();
  EXPECT_EQ(run->out(), "ready\nwent\n");
}

TEST_F(StopTest, AJobDaemonThatIsKilledTakesItsRanksAlong) {
  const auto run = StartScript({}, "echo ready; exec sleep 1000");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  const auto jobd = AwaitPart("jobd", scene_);
  ASSERT_TRUE(jobd.has_value());
  kill(*jobd, SIGKILL);
  EXPECT_EQ(run->Wait(), 71) << run->err();
}

TEST_F(StopTest, AJobDaemonThatIsKilledCountsAsARestart) {
  const auto run = StartScript({"--max-restarts", "1"},
                               "echo ready; [ -e once ] && exit 0; touch once; exec sleep 1000");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  while (access(Path("once").c_str(), F_OK) != 0) {
  }
  const auto jobd = AwaitPart("jobd", scene_);
  ASSERT_TRUE(jobd.has_value());
  kill(*jobd, SIGKILL);
  EXPECT_EQ(run->Wait(), 0) << run->err();
  EXPECT_EQ(run->out(), "ready\nready\n");
}

}  // namespace
}  // namespace muster::testing
