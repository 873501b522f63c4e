// Files, ports and folders that the parts of a cluster cannot use: what is said, and the exit
// status.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>

#include "tests/integration/cli/cli_test.h"

namespace muster::testing {
namespace {

class BadInput : public CliTest {
 protected:
  void TearDown() override {
    // Nobody but a keeper removes them: an agent may come back.
    std::filesystem::remove_all(Path("run/muster-" + std::to_string(TheCommand().uid)));
    CliTest::TearDown();
  }

  // A cluster file, with its certificates in state/lab.
  std::string MakeCluster(const std::string& listen) {
    const std::string file =
        Write("cluster.yaml", "name: lab\nlisten: " + listen + "\nnodes: [{name: n0}]\n");
    const Outcome init = Run({"init", "--config", file});
    EXPECT_EQ(init.exit, 0) << init.err;
    return file;
  }

  // Whether the coordinator wrote where it listens, within the patience.
  bool Listens() const {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (access(Path("state/lab/coordinator.address").c_str(), F_OK) != 0) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      usleep(2000);
    }
    return true;
  }

  static void ExpectSays(const Outcome& outcome, int exit, const std::vector<std::string>& words) {
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    for (const std::string& word : words) {
      EXPECT_NE(outcome.err.find(word), std::string::npos)
          << "'" << word << "' is missing in: " << outcome.err;
    }
  }
};

TEST_F(BadInput, AFileThatCannotBeReadIsNamedWithTheReason) {
  std::vector<std::pair<std::string, std::string>> files = {
      {Path("tmp"), "Is a directory"}, {Path("none.yaml"), "No such file or directory"}};
  if (TheCommand().uid != 0 || geteuid() != 0) {  // Root may read everything.
    files.emplace_back(Write("closed.yaml", "command: [/bin/true]\n", 0), "Permission denied");
  }
  for (const auto& [file, why] : files) {
    const std::vector<std::vector<std::string>> readers = {{"submit", file},
                                                           {"plan", file},
                                                           {"init", "--config", file},
                                                           {"coordinator", "--config", file}};
    for (const auto& reader : readers) ExpectSays(Run(reader), 2, {file + ": " + why});
  }
}

TEST_F(BadInput, APortThatIsInUseIsNamedAndNothingElseStarts) {
  const UniqueFd taken(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(taken.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(taken.get(), 1), 0);
  ASSERT_EQ(getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string place = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const std::string file = MakeCluster(place);
  ExpectSays(Run({"coordinator", "--config", file}), 1,
             {"cannot listen at " + place + ": Address already in use", "ss -ltnp",
              "another port with `listen`"});
  EXPECT_FALSE(std::filesystem::exists(Path("state/lab/coordinator.address")));
}

TEST_F(BadInput, AnAddressOfAnotherHostIsNamed) {
  const std::string file = MakeCluster("192.0.2.1:7077");
  ExpectSays(Run({"coordinator", "--config", file}), 1,
             {"cannot listen at 192.0.2.1:7077: Cannot assign requested address", "0.0.0.0"});
}

TEST_F(BadInput, ASecondCoordinatorIsToldWhoHasTheState) {
  const std::string file = MakeCluster("127.0.0.1:0");
  const auto first = Start({"coordinator", "--config", file});
  ASSERT_TRUE(Listens());
  ExpectSays(Run({"coordinator", "--config", file}), 1,
             {"another coordinator (pid " + std::to_string(first->pid()) + ")", "stop it first"});
  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0) << first->err();
}

TEST_F(BadInput, AJournalOfANewerVersionIsLeftAsItIs) {
  const std::string file = MakeCluster("127.0.0.1:0");
  {
    const auto coordinator = Start({"coordinator", "--config", file});
    ASSERT_TRUE(Listens());
    coordinator->Signal(SIGTERM);
    ASSERT_EQ(coordinator->Wait(), 0) << coordinator->err();
  }
  // SQLite's user_version: the format of a later muster.
  const std::string journal = Path("state/lab/journal.sqlite");
  ASSERT_FALSE(std::filesystem::exists(journal + "-wal"));
  {
    const UniqueFd fd(open(journal.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(pwrite(fd.get(), "\0\0\0\7", 4, 60), 4);
  }
  const auto before = ReadFile(journal);
  ExpectSays(Run({"coordinator", "--config", file}), 2,
             {journal,
              "a journal from a newer version: its format is 7, this muster reads formats "
              "up to 1; start the newer muster, or choose another state directory"});
  EXPECT_EQ(*ReadFile(journal), *before);
}

TEST_F(BadInput, AStateFolderOfAnotherUserIsRefusedByEachPart) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const std::string file = MakeCluster("127.0.0.1:0");
  const std::string theirs = Path("theirs");
  ASSERT_EQ(mkdir(theirs.c_str(), 0777), 0);
  ASSERT_EQ(chmod(theirs.c_str(), 0777), 0);
  ASSERT_EQ(chown(theirs.c_str(), 4711, 4711), 0);
  const std::vector<std::vector<std::string>> parts = {
      {"init", "--config", file, "--state", theirs},
      {"coordinator", "--config", file, "--state", theirs},
      {"agent", "--state", theirs, "--node", "n0"}};
  for (const auto& part : parts) {
    ExpectSays(Run(part), 2, {theirs + " belongs to uid 4711", "name a folder of yours"});
  }
  EXPECT_TRUE(std::filesystem::is_empty(theirs));
}

TEST_F(BadInput, AnAgentWithoutItsCertificateSaysWhichFileIsMissing) {
  const Outcome agent = Run({"agent", "--state", Path("state/empty"), "--node", "n0"});
  ExpectSays(agent, 1, {"certificate of node-n0", Path("state/empty/ca/")});
}

}  // namespace
}  // namespace muster::testing
