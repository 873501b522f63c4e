// A cluster that stays: up, its verbs, down; and what is said when there is none.
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launcher/agent/record.h"
#include "runtime/base/wire.h"
#include "tests/integration/cli/cli_test.h"

namespace muster::testing {
namespace {

// The log of a job daemon names its job; a spare has none.
bool KnowsAJob(const std::string& daemons) {
  std::error_code error;
  for (const auto& daemon : std::filesystem::directory_iterator(daemons, error)) {
    const auto log = ReadFile(daemon.path() / "jobd.log");
    if (log.ok() && log->find(" job=") != std::string::npos) return true;
  }
  return false;
}

using nlohmann::json;

class ClusterTest : public CliTest {
 protected:
  void Up(const std::string& nodes = "2", const std::string& slots = "2") {
    const Outcome up = Run({"up", "--nodes", nodes, "--slots", slots});
    ASSERT_EQ(up.exit, 0) << up.err;
    up_ = true;
  }
  void TearDown() override {
    if (up_) {
      const Outcome down = Run({"down"});
      EXPECT_EQ(down.exit, 0) << down.err;
    }
    CliTest::TearDown();
  }
  std::string Submit(const std::string& yaml) {
    const Outcome submitted = Run({"submit", Write("job.yaml", yaml)});
    EXPECT_EQ(submitted.exit, 0) << submitted.err;
    return submitted.out.substr(0, submitted.out.find('\n'));
  }
  json Show(const std::string& job) {
    const Outcome shown = Run({"show", "--json", job});
    EXPECT_EQ(shown.exit, 0) << shown.err;
    return json::parse(shown.out, nullptr, false);
  }
  bool up_ = false;
};

TEST_F(ClusterTest, SaysWhatToDoWhenThereIsNone) {
  for (const char* verb : {"list", "nodes"}) {
    const Outcome none = Run({verb});
    EXPECT_EQ(none.exit, 69);
    EXPECT_NE(none.err.find("muster up"), std::string::npos) << none.err;
  }
  EXPECT_EQ(Run({"show", "1", "--cluster", "nowhere"}).exit, 69);
  EXPECT_EQ(Run({"down"}).exit, 2);
}

TEST_F(ClusterTest, SaysWhatIsThereWhenStartedTwice) {
  Up();
  const Outcome again = Run({"up", "--nodes", "2", "--slots", "2"});
  EXPECT_EQ(again.exit, 0);
  EXPECT_NE(again.out.find("already up: cluster 'local': 2 nodes with 2 slots"), std::string::npos)
      << again.out;
  EXPECT_EQ(Run({"up", "--nodes", "3", "--slots", "2"}).exit, 2);
}

TEST_F(ClusterTest, ListsItsNodes) {
  Up();
  const json nodes = json::parse(Run({"nodes", "--json"}).out, nullptr, false);
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0]["name"], "n0");
  EXPECT_EQ(nodes[1]["slots"], 2);
  EXPECT_EQ(nodes[1]["lost"], false);
}

TEST_F(ClusterTest, RunsGoThere) {
  Up();
  const Outcome run = RunScript({"-N", "2"}, "echo $WORLD_SIZE");
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(Lines(run.out), (std::vector<std::string>{"[0] 4", "[1] 4", "[2] 4", "[3] 4"}));
  const json jobs = json::parse(Run({"list", "--all", "--json"}).out, nullptr, false);
  ASSERT_EQ(jobs.size(), 1U);
  EXPECT_EQ(jobs[0]["state"], "succeeded");
  EXPECT_EQ(jobs[0]["name"], "sh");
}

// What a job starts under was there before it, and the next job finds another.
TEST_F(ClusterTest, AJobTakesTheSpareJobDaemon) {
  Up("1", "1");
  const std::string daemons = Path("state/local/agents/n0/daemons");
  std::string last;
  for (int round = 0; round < 2; ++round) {
    std::string spare;
    while (spare.empty()) {
      for (const auto& daemon : std::filesystem::directory_iterator(daemons)) {
        const std::string id = daemon.path().filename();
        if (id != last && std::filesystem::exists(daemon.path() / "record")) spare = id;
      }
      usleep(2000);
    }
    const Outcome run = RunScript({}, "echo $MUSTER_JOB_COOKIE");
    EXPECT_EQ(run.exit, 0) << run.err;
    EXPECT_TRUE(run.out.ends_with("-n0-" + spare + "\n")) << run.out << "is not of " << spare;
    last = spare;
  }
}

// The agent dies after it wrote down whose a spare is, and before the order left.
TEST_F(ClusterTest, AnAgentAdoptsAJobDaemonWhoseFirstOrderWasLost) {
  Up("1", "1");
  const auto agent = AwaitPart("agent", scene_);
  ASSERT_TRUE(agent.has_value());
  const std::string daemons = "state/local/agents/n0/daemons";
  std::string record_file;
  while (record_file.empty()) {
    for (const auto& daemon : std::filesystem::directory_iterator(Path(daemons))) {
      const std::string file = daemons + "/" + daemon.path().filename().string() + "/record";
      if (std::filesystem::exists(Path(file))) record_file = file;
    }
    usleep(2000);
  }
  auto record = DecodeWire<JobdRecord>(*ReadFile(Path(record_file)));
  ASSERT_TRUE(record.ok());
  record->job = 77;
  Write(record_file, EncodeWire(*record), 0600);
  kill(*agent, SIGKILL);
  const Outcome run = RunScript({}, "true");
  EXPECT_EQ(run.exit, 0) << run.err;
  while (std::filesystem::exists(Path(record_file))) usleep(2000);
}

TEST_F(ClusterTest, TakesAJobFromItsFileToItsEnd) {
  Up();
  const std::string job = Submit(
      "name: hello\n"
      "nodes: 2\n"
      "ranks_per_node: 1\n"
      "script: |\n"
      "  echo $WHO is $RANK in $PWD\n"
      "  [ $RANK = 0 ] || { touch wrote; exit 0; }\n"
      "  while [ ! -e wrote ]; do sleep 0.01; done\n"
      "  exit 4\n"
      "env: {WHO: you}\n"
      "restart: {max: 1, never: [4]}\n");
  const Outcome waited = Run({"wait", job, "--json"});
  EXPECT_EQ(waited.exit, 4) << waited.err;
  EXPECT_EQ(json::parse(waited.out, nullptr, false)["source"], "program");
  const Outcome logs = Run({"logs", "hello"});
  EXPECT_EQ(logs.exit, 0) << logs.err;
  EXPECT_EQ(Lines(logs.out), (std::vector<std::string>{"[0] you is 0 in " + scene_.folder(),
                                                       "[1] you is 1 in " + scene_.folder()}));
  EXPECT_EQ(Run({"logs", "--rank", "1", job}).out, "you is 1 in " + scene_.folder() + "\n");
  const json shown = Show(job);
  EXPECT_EQ(shown["state"], "failed");
  EXPECT_EQ(shown["exit"], 4);
  EXPECT_EQ(shown["restarts"], 0);
}

TEST_F(ClusterTest, CancelsAJob) {
  Up();
  const std::string job = Submit("command: [/bin/sleep, '1000']\nranks_per_node: 1\n");
  const auto waiting = Start({"wait", job});
  EXPECT_EQ(Run({"cancel", job}).exit, 0);
  EXPECT_EQ(waiting->Wait(), 143) << waiting->err();
  EXPECT_EQ(Show(job)["state"], "cancelled");
  EXPECT_EQ(Run({"cancel", "4711"}).exit, 2);
}

TEST_F(ClusterTest, SignalsEveryRank) {
  Up();
  const std::string job = Submit(
      "ranks_per_node: 2\n"
      "script: |\n"
      "  trap 'echo got it; exit 0' USR1\n"
      "  echo ready\n"
      "  while :; do sleep 0.05; done\n");
  const auto logs = Start({"logs", "-f", job});
  ASSERT_TRUE(logs->AwaitOutput("[0] ready\n")) << logs->err();
  ASSERT_TRUE(logs->AwaitOutput("[1] ready\n")) << logs->err();
  EXPECT_EQ(Run({"signal", job, "USR1"}).exit, 0);
  EXPECT_EQ(logs->Wait(), 0) << logs->err();
  EXPECT_EQ(Lines(logs->out()),
            (std::vector<std::string>{"[0] got it", "[0] ready", "[1] got it", "[1] ready"}));
  EXPECT_EQ(Run({"wait", job}).exit, 0);
}

TEST_F(ClusterTest, DrainedNodesTakeNoWorkAndWhySaysSo) {
  Up("1", "1");
  EXPECT_EQ(Run({"drain", "n0", "--reason", "bad fan"}).exit, 0);
  const std::string job = Submit("command: [/bin/true]\n");
  const Outcome why = Run({"why", job});
  EXPECT_NE(why.out.find("bad fan"), std::string::npos) << why.out;
  EXPECT_EQ(Run({"resume", "n0"}).exit, 0);
  EXPECT_EQ(Run({"wait", job}).exit, 0);
}

TEST_F(ClusterTest, RefusesAJobThatCanNeverFit) {
  Up();
  const Outcome submitted = Run({"submit", Write("job.yaml", "command: [/bin/true]\nnodes: 3\n")});
  EXPECT_EQ(submitted.exit, 2);
  EXPECT_NE(submitted.err.find("needs 3 nodes"), std::string::npos) << submitted.err;
  EXPECT_EQ(Run({"plan", Path("job.yaml")}).exit, 2);
}

TEST_F(ClusterTest, ReportsEveryMistakeOfAJobFile) {
  const Outcome bad = Run({"submit", Write("job.yaml", "nodes: x\ncomand: [a]\nmesh: {tp: 2}\n")});
  EXPECT_EQ(bad.exit, 2);
  for (const char* part : {"job.yaml:1:8: 'nodes' must be", "did you mean 'command'?",
                           "'mesh' is not supported yet", "'command' is missing"}) {
    EXPECT_NE(bad.err.find(part), std::string::npos) << part << "\n" << bad.err;
  }
  const Outcome unreadable = Run({"submit", Path("no-such.yaml")});
  EXPECT_EQ(unreadable.exit, 2);
  EXPECT_NE(unreadable.err.find("no-such.yaml"), std::string::npos);
}

TEST_F(ClusterTest, LooksAtStoresWithoutACluster) {
  const Outcome none = Run({"ckpt", "ls", Path("no-such-store")});
  EXPECT_EQ(none.exit, 2);
  EXPECT_NE(none.err.find("no-such-store"), std::string::npos) << none.err;
  EXPECT_EQ(Run({"ckpt", "ls", Path("tmp"), "--json"}).out, "[]\n");
  EXPECT_EQ(Run({"ckpt", "ls", Path("tmp")}).err,
            "muster ckpt: no run has saved in " + Path("tmp") + "\n");
  for (const char* action : {"verify", "show"}) {
    const Outcome empty = Run({"ckpt", action, Path("tmp")});
    EXPECT_EQ(empty.exit, 2);
    EXPECT_NE(empty.err.find("nothing is committed in"), std::string::npos) << empty.err;
  }
  EXPECT_EQ(Run({"ckpt", "verify", Path("tmp"), "no-such-run"}).exit, 2);
  EXPECT_EQ(Run({"ckpt", "eat", Path("tmp")}).exit, 2);
}

TEST_F(ClusterTest, KnowsItsVerbs) {
  const Outcome wrong = Run({"lst"});
  EXPECT_EQ(wrong.exit, 2);
  EXPECT_NE(wrong.err.find("did you mean 'list'?"), std::string::npos) << wrong.err;
  EXPECT_EQ(Run({"--help"}).exit, 0);
  EXPECT_EQ(Run({}).exit, 2);
}

TEST_F(ClusterTest, ADetachedRunGoesOn) {
  Up();
  const Outcome run =
      Run({"run", "--detach", "--ranks-per-node", "1", "--", "/bin/sh", "-c", "echo alone"});
  ASSERT_EQ(run.exit, 0) << run.err;
  const std::string job = run.out.substr(0, run.out.find('\n'));
  EXPECT_EQ(Run({"wait", job}).exit, 0);
  EXPECT_EQ(Run({"logs", job}).out, "alone\n");
}

// Not even root may have more files than the kernel allows to anybody.
TEST_F(ClusterTest, ALimitThatIsCutIsToldInTheStory) {
  Up("1", "2");
  const auto most = ReadFile("/proc/sys/fs/nr_open");
  ASSERT_TRUE(most.ok());
  const std::string asked = std::to_string(std::stoull(*most) + 1);
  const Outcome run = Run({"run", "--ranks-per-node", "2", "--ulimit", "nofile=" + asked,
                           "--ulimit", "core=0", "--", "/bin/sh", "-c", "ulimit -S -n"});
  EXPECT_EQ(run.exit, 0) << run.err;
  const std::string given = run.out.substr(4, run.out.find('\n') - 4);
  EXPECT_LT(std::stoull(given), std::stoull(asked));
  const std::string told = Run({"events", "1"}).out;
  const std::string words =
      "the limit nofile is " + given + " on node n0, not " + asked + " as asked: ";
  const std::size_t at = told.find(words);
  EXPECT_NE(at, std::string::npos) << told;
  EXPECT_EQ(told.find("the limit ", at + 1), std::string::npos) << told;
}

TEST_F(ClusterTest, AnAttachedRunThatDiesEndsItsJob) {
  Up();
  const auto run =
      StartScript({"--ranks-per-node", "1", "--grace", "200ms"}, "echo ready; exec sleep 1000");
  ASSERT_TRUE(run->AwaitOutput("ready\n")) << run->err();
  run->Signal(SIGKILL);
  EXPECT_EQ(run->Wait(), 137);
  EXPECT_EQ(Run({"wait", "1"}).exit, 143);
}

TEST_F(ClusterTest, DownEndsRunningJobsAndKeepsTheirHistory) {
  Up();
  const std::string job = Submit("command: [/bin/sleep, '1000']\ngrace: 200ms\n");
  const Outcome down = Run({"down"});
  EXPECT_EQ(down.exit, 0) << down.err;
  up_ = false;
  EXPECT_EQ(scene_.Leftovers(), std::vector<std::string>());
  Up();
  EXPECT_EQ(Show(job)["state"], "cancelled");
}

TEST_F(ClusterTest, DownSaysWhatItCannotRemove) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root (a mount)";
  Up("1", "1");
  const std::filesystem::directory_iterator ours(
      Path("run/muster-" + std::to_string(TheCommand().uid)));
  const std::string stuck = ours->path().string() + "/stuck";
  ASSERT_EQ(mkdir(stuck.c_str(), 0777), 0);
  ASSERT_EQ(mount("stuck", stuck.c_str(), "tmpfs", 0, "size=4k"), 0);
  const Outcome down = Run({"down"});
  EXPECT_EQ(umount(stuck.c_str()), 0);
  EXPECT_EQ(down.exit, 69);
  EXPECT_NE(down.err.find("something of it stays in " + ours->path().string()), std::string::npos)
      << down.err;
  up_ = false;
  EXPECT_EQ(Run({"down", "--name", "local"}).exit, 0);
}

TEST_F(ClusterTest, AKeeperThatIsKilledTakesEverythingAlong) {
  Up();
  Submit("script: trap '' TERM; while :; do sleep 0.05; done\ngrace: 200ms\n");
  const auto keeper = AwaitPart("keeper", scene_);
  ASSERT_TRUE(keeper.has_value());
  kill(*keeper, SIGKILL);
  up_ = false;
  EXPECT_EQ(scene_.Leftovers(30'000), std::vector<std::string>());
}

// Two hosts, but for their network: an agent each, with a state folder of its own.
TEST_F(ClusterTest, ServesAClusterOfAFileWithoutAKeeper) {
  const std::string file = Write("cluster.yaml",
                                 "name: lab\nlisten: 127.0.0.1:0\nnodes:\n"
                                 "  - {name: a, address: 127.0.0.1, slots: 1}\n"
                                 "  - {name: b, address: 127.0.0.1, slots: 1}\n");
  ASSERT_EQ(Run({"init", "--config", file}).exit, 0);
  const std::string state = Path("state/lab");
  const std::vector<std::string> root = TheCommand().uid == 0 && geteuid() == 0
                                            ? std::vector<std::string>{"--allow-root"}
                                            : std::vector<std::string>{};
  const auto start = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), root.begin(), root.end());
    return Start(arguments);
  };
  const auto coordinator = start({"coordinator", "--config", file});
  const auto a = start({"agent", "--state", state, "--node", "a", "--slots", "1"});
  const auto b = start({"agent", "--state", state, "--node", "b", "--slots", "1"});
  const Outcome run = Run(
      {"run", "--cluster", "lab", "-N", "2", "--", "/bin/sh", "-c", "echo $RANK of $WORLD_SIZE"});
  EXPECT_EQ(run.exit, 0) << run.err;
  EXPECT_EQ(Lines(run.out), (std::vector<std::string>{"[0] 0 of 2", "[1] 1 of 2"}));
  for (const char* node : {"a", "b"}) {
    // An agent that ends at once leaves the sweeping to its next life.
    while (KnowsAJob(state + "/agents/" + node + "/daemons")) usleep(2000);
  }
  for (const auto* part : {&a, &b, &coordinator}) {
    (*part)->Signal(SIGTERM);
    EXPECT_EQ((*part)->Wait(), 0) << (*part)->err();
  }
  for (const char* node : {"a", "b"}) {
    EXPECT_TRUE(std::filesystem::is_empty(state + "/agents/" + node + "/daemons"));
  }
  // Without a keeper nobody may know that the node will not come back.
  std::filesystem::remove_all(Path("run/muster-" + std::to_string(TheCommand().uid)));
}

TEST_F(ClusterTest, ReportsEveryMistakeOfAClusterFile) {
  const std::string file = Write("cluster.yaml", "lisen: x\nnodes: []\n");
  const Outcome checked = Run({"coordinator", "--config", file, "--check"});
  EXPECT_EQ(checked.exit, 2);
  EXPECT_NE(checked.err.find("did you mean 'listen'?"), std::string::npos) << checked.err;
  EXPECT_NE(checked.err.find("at least one node"), std::string::npos) << checked.err;
}

}  // namespace
}  // namespace muster::testing
