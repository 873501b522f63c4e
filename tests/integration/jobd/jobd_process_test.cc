// The job daemon as real processes: plain programs, failures, containment, on one and two hosts.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "runtime/base/status_file.h"
#include "runtime/base/wire.h"
#include "tests/integration/jobd/test_job_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster {
namespace {

class JobdProcessTest : public testing::CleanTest {
 protected:
  TestJobOptions Options(std::uint32_t hosts, std::uint32_t ranks,
                         const std::vector<std::string>& argv) const {
    return {.folder = scene_.folder(), .hosts = hosts, .ranks_per_host = ranks, .argv = argv};
  }
};

std::vector<std::string> Shell(const std::string& script) {
  return {"sh", "-c", script};
}

TEST_F(JobdProcessTest, RunsAPlainProgramOnOneHost) {
  TestJob job(Options(1, 2, Shell("echo rank $RANK of $WORLD_SIZE")));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft)) << job.FirstCause().text;
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone);
  EXPECT_EQ(job.Out(0, 0), "rank 0 of 2\n");
  EXPECT_EQ(job.Out(0, 1), "rank 1 of 2\n");
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, TellsEachRankItsPlaceOnTwoHosts) {
  TestJob job(Options(2, 2,
                      Shell("echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE "
                            "$MUSTER_NODE_RANK $MUSTER_NUM_NODES $MUSTER_SLOT $MASTER_ADDR "
                            "port$MASTER_PORT; readlink /proc/self/fd/0")));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft)) << job.FirstCause().text;
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone);
  const std::string port = job.Out(0, 0).substr(job.Out(0, 0).find("port"));
  EXPECT_NE(port.substr(0, 6), "port0\n");
  EXPECT_EQ(job.Out(0, 0), "0 0 4 2 0 2 0 127.0.0.1 " + port);
  EXPECT_EQ(job.Out(0, 1), "1 1 4 2 0 2 1 127.0.0.1 " + port);
  EXPECT_EQ(job.Out(0, 2), "2 0 4 2 1 2 0 127.0.0.1 " + port);
  EXPECT_EQ(job.Out(0, 3), "3 1 4 2 1 2 1 127.0.0.1 " + port);
  EXPECT_NE(port.find("/dev/null"), std::string::npos);
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, NamesTheRankThatFailedAndItsLastLines) {
  TestJob job(
      Options(2, 2, Shell("if [ $RANK = 2 ]; then echo it broke >&2; exit 3; fi; sleep 1000")));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  for (const auto& node : job.nodes) {
    EXPECT_EQ(node->status.cause.kind, CauseKind::kExit);
    EXPECT_EQ(node->status.cause.rank, 2);
    EXPECT_EQ(node->status.cause.code, 3);
    EXPECT_EQ(node->status.cause.node, "n1");
    EXPECT_EQ(node->status.cause.text, "it broke");
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, KeepsEveryByteThatARankPrints) {
  TestJob job(Options(1, 2, Shell("head -c 200000 /dev/zero | tr '\\0' x; printf y >&2")));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  for (const std::uint32_t rank : {0U, 1U}) {
    EXPECT_EQ(job.Out(0, rank), std::string(200000, 'x'));
    EXPECT_EQ(job.Err(0, rank), "y");
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, StartsNoRankWhenTheProgramIsMissingOnOneHost) {
  TestJobOptions options = Options(2, 2, {"only-on-n0"});
  options.environment = {"PATH=" + scene_.folder() + "/bin"};
  TestJob job(options);
  ASSERT_TRUE(MakeFolders(scene_.folder() + "/bin").ok());
  // Both hosts are this machine: the second one looks into another folder.
  ASSERT_EQ(symlink("/bin/true", (scene_.folder() + "/bin/only-on-n0").c_str()), 0);
  job.order.attempt = 0;
  job.order.host_index = 0;
  job.nodes[0]->Send(job.order);
  job.order.host_index = 1;
  job.order.program.environment = {"PATH=/nowhere"};
  job.nodes[1]->Send(job.order);
  ASSERT_TRUE(job.Until([&] { return job.nodes[0]->status.port != 0; }));
  job.nodes[1]->Send(MeetHead{job.order.job, 0, job.nodes[0]->status.port});
  ASSERT_TRUE(job.Until([&] { return job.nodes[1]->status.phase == MemberPhase::kLeft; }));
  EXPECT_EQ(job.nodes[1]->status.cause.kind, CauseKind::kNotFound);
  EXPECT_EQ(job.nodes[1]->status.cause.code, 127);
  EXPECT_NE(job.nodes[1]->status.cause.text.find("'only-on-n0' was not found on node n1"),
            std::string::npos);
  for (const JobdStatus& status : job.nodes[0]->statuses) EXPECT_EQ(status.ranks_alive, 0U);
  job.SendAll(StopAttempt{job.order.job, 0, 0});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, SaysWhyAProgramCannotBeRun) {
  const std::string script = scene_.folder() + "/script";
  ASSERT_TRUE(WriteFileAtomically(script, "#!/no/such/interpreter\n", 0755).ok());
  const std::string plain = scene_.folder() + "/plain";
  ASSERT_TRUE(WriteFileAtomically(plain, "echo\n", 0644).ok());
  const std::vector<std::pair<std::string, CauseKind>> cases = {
      {script, CauseKind::kNotFound},
      {plain, CauseKind::kNotExecutable},
      {"/tmp", CauseKind::kNotExecutable},
      {"no-such-program", CauseKind::kNotFound}};
  for (const auto& [program, kind] : cases) {
    TestJob job(Options(1, 2, {program}));
    job.Start(0);
    ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
    const Cause cause = job.FirstCause();
    EXPECT_EQ(cause.kind, kind) << program << ": " << cause.text;
    EXPECT_EQ(cause.code, kind == CauseKind::kNotFound ? 127 : 126);
    EXPECT_NE(cause.text.find(program), std::string::npos) << cause.text;
    EXPECT_NE(cause.text.find("n0"), std::string::npos) << cause.text;
    EXPECT_TRUE(job.End());
  }
}

TEST_F(JobdProcessTest, SaysThatTheWorkingDirectoryIsMissing) {
  TestJobOptions options = Options(1, 1, {"true"});
  options.workdir = "/no/such/folder";
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kLaunch);
  EXPECT_NE(job.FirstCause().text.find("'/no/such/folder'"), std::string::npos);
  EXPECT_TRUE(job.End());
}

// What detaches itself goes with the attempt, with a group and without one.
void KillsWhatDetached(const TestJobOptions& options) {
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kRunning));
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "away"); }));
  const std::size_t before = job.Carriers().size();
  job.SendAll(StopAttempt{job.order.job, 0, 0});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  // The ranks, and what they left, are gone; the daemons and their spare helpers are not.
  EXPECT_LE(job.Carriers().size() + 4, before);
  for (const pid_t pid : job.Carriers()) {
    const auto line = ReadFile("/proc/" + std::to_string(pid) + "/cmdline");
    EXPECT_TRUE(!line.ok() || line->find("sleep") == std::string::npos) << *line;
  }
  EXPECT_TRUE(job.End());
}

const char* const kDetach = "(setsid sh -c 'sleep 1000 & echo away; wait' &) ; sleep 1000";

TEST_F(JobdProcessTest, KillsWhatDetachedItselfInItsGroup) {
  KillsWhatDetached(Options(1, 2, Shell(kDetach)));
}

TEST_F(JobdProcessTest, KillsWhatDetachedItselfWithoutAGroup) {
  TestJobOptions options = Options(1, 2, Shell(kDetach));
  options.group = false;
  KillsWhatDetached(options);
}

TEST_F(JobdProcessTest, LeavesNothingAliveWhenItIsKilled) {
  TestJob job(Options(2, 2, Shell(kDetach)));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kRunning));
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "away"); }));
  std::vector<pid_t> ranks = {job.PidOf(0), job.PidOf(1)};
  job.nodes[0]->Kill();
  ASSERT_TRUE(job.Until([&] {  // PR_SET_PDEATHSIG.
    return std::all_of(ranks.begin(), ranks.end(), [](pid_t pid) {
      const auto stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
      return !stat.ok() || stat->find(") Z") != std::string::npos;
    });
  }));
  ASSERT_TRUE(job.Until([&] { return KillRound(job.nodes[0]->containment(), {}) == 0; }));
  EXPECT_TRUE(CarriersOf(job.nodes[0]->containment().entry, getuid()).empty());
  ASSERT_TRUE(job.Until([&] { return job.nodes[1]->status.phase == MemberPhase::kLeft; }));
  EXPECT_EQ(job.nodes[1]->status.cause.kind, CauseKind::kPeerLost);
}

// Connects to the head's port, says `text`, and waits for the head to hang up.
void IsHungUpOn(std::uint16_t port, const std::string& text) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (!text.empty()) {
    ASSERT_TRUE(WriteAll(fd.get(), text.data(), text.size()).ok());
  }
  char byte = 0;
  while (read(fd.get(), &byte, 1) > 0) {
  }
}

TEST_F(JobdProcessTest, LetsNobodyInWithoutTheKeyOfTheJob) {
  TestJob job(Options(2, 1, Shell("echo ran")));
  job.order.host_index = 0;
  job.nodes[0]->Send(job.order);
  StartAttempt other = job.order;
  other.host_index = 1;
  other.job_key = std::string(32, 'x');
  job.nodes[1]->Send(other);
  ASSERT_TRUE(job.Until([&] {
    return job.nodes[0]->status.phase == MemberPhase::kReady && job.nodes[0]->status.port != 0;
  }));
  const std::uint16_t port = job.nodes[0]->status.port;
  job.nodes[1]->Send(MeetHead{job.order.job, 0, port});
  IsHungUpOn(port, "GET / HTTP/1.0\r\n\r\n");
  IsHungUpOn(port, "");
  ASSERT_TRUE(job.Until([&] {
    const std::string log = *ReadFile(job.nodes[0]->arguments().status + ".log");
    return log.find("refused: binder does not verify") != std::string::npos &&
           log.find("refused: http request") != std::string::npos &&
           log.find("refused: it was silent for too long") != std::string::npos;
  }));
  EXPECT_EQ(job.nodes[0]->status.phase, MemberPhase::kReady);
  EXPECT_TRUE(job.Until([&] { return job.nodes[1]->status.phase == MemberPhase::kStarting; }));
  EXPECT_EQ(job.Out(0, 0), "");
  job.SendAll(StopAttempt{job.order.job, 0, 0});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, StopsWithGraceByAsking) {
  TestJob job(Options(2, 1, Shell("trap 'echo asked; exit 0' TERM; echo up; sleep 1000 & wait")));
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.AllSay(0, "up"); }));
  job.SendAll(StopAttempt{job.order.job, 0, 50000});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.AllSay(0, "asked"));
  for (const auto& node : job.nodes) EXPECT_TRUE(node->status.asked_to_stop);
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, ServesANewAgentAndGoesOnWithoutOne) {
  TestJob job(Options(1, 1, Shell("sleep 0.3; echo done")));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kRunning));
  job.nodes[0]->status = {};
  job.nodes[0]->Connect();
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.Out(0, 0), "done\n");
  EXPECT_TRUE(job.End());
  EXPECT_FALSE(std::filesystem::exists(job.nodes[0]->arguments().shm));
  const auto bytes = ReadFile(job.nodes[0]->arguments().status);
  ASSERT_TRUE(bytes.ok());
  const auto last = DecodeWire<StatusFile>(*bytes);
  ASSERT_TRUE(last.ok());
  EXPECT_EQ(last->status.job, job.order.job);
  EXPECT_GE(last->status.phase, MemberPhase::kLeft);
}

// A spare: it has no job yet, and nobody but the agent that started it knows of it.
TEST_F(JobdProcessTest, EndsWithItsAgentWhileItHasNoJob) {
  TestJob job(Options(1, 1, Shell("echo never")));
  TestNode& node = *job.nodes[0];
  node.Disconnect();
  EXPECT_EQ(node.Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(node.arguments().shm));
  EXPECT_FALSE(std::filesystem::exists(node.arguments().status));
}

// An agent that found it in a record would wait for ever for what it says about the job.
TEST_F(JobdProcessTest, SaysThatItHasNoJobYet) {
  TestJob job(Options(1, 1, Shell("echo never")));
  TestNode& node = *job.nodes[0];
  ASSERT_TRUE(job.Until([&] { return node.status.instance != 0; }));
  EXPECT_EQ(node.status.job, 0U);
  EXPECT_EQ(node.status.phase, MemberPhase::kNone);
  EXPECT_FALSE(std::filesystem::exists(LiveStatus(node.arguments().shm)));
  node.Disconnect();
  EXPECT_EQ(node.Wait(), 0);
}

TEST_F(JobdProcessTest, EndsWhenAnotherAgentComesWhileItHasNoJob) {
  TestJob job(Options(1, 1, Shell("echo never")));
  TestNode& node = *job.nodes[0];
  node.Connect();  // Again: as a later life of the agent.
  EXPECT_EQ(node.Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(node.arguments().shm));
}

TEST_F(JobdProcessTest, TakesTheJobOfItsFirstOrderAndNoOther) {
  TestJob job(Options(1, 1, Shell("echo ran")));
  job.nodes[0]->Send(EndJob{job.order.job});  // Not an order to start: nothing.
  job.Start(0);
  StartAttempt other = job.order;
  other.job += 1;
  other.attempt = 1;
  job.nodes[0]->Send(other);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft)) << job.FirstCause().text;
  EXPECT_EQ(job.Out(0, 0), "ran\n");
  EXPECT_EQ(job.nodes[0]->status.job, job.order.job);
  const std::string log = *ReadFile(job.nodes[0]->arguments().status + ".log");
  EXPECT_NE(log.find("an order to start makes no sense"), std::string::npos) << log;
  EXPECT_TRUE(job.End());
}

TEST_F(JobdProcessTest, RunsAsAnUnprivilegedUser) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  ASSERT_EQ(chmod(scene_.folder().c_str(), 0755), 0);
  TestJobOptions options = Options(2, 2, Shell("id -u; (setsid sleep 1000 &)"));
  options.uid = 65534;
  options.prefix = {"/usr/bin/setpriv", "--reuid=65534",  "--regid=65534",
                    "--clear-groups",   "--no-new-privs", "--bounding-set=-all"};
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft)) << job.FirstCause().text;
  EXPECT_TRUE(job.AllSay(0, "65534\n"));
  EXPECT_TRUE(job.End());
}

}  // namespace
}  // namespace muster
