// The check for leftovers finds a planted leak of each kind, and is quiet without one.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"
#include "tests/integration/lib/clean_test.h"
#include "tests/integration/lib/machine_posix.h"

namespace muster::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kNow = 0;

// `sleep 600` with these entries as its whole environment; ends with the object.
class Sleeper {
 public:
  explicit Sleeper(std::vector<std::string> environment) {
    std::vector<char*> env;
    for (std::string& entry : environment) env.push_back(entry.data());
    env.push_back(nullptr);
    std::string program = "sleep", argument = "600";
    char* argv[] = {program.data(), argument.data(), nullptr};
    EXPECT_EQ(posix_spawn(&pid_, "/bin/sleep", nullptr, nullptr, argv, env.data()), 0);
    // posix_spawn returns inside the exec, a moment before the new environment can be read.
    const std::string file = "/proc/" + std::to_string(pid_) + "/environ";
    const auto unread = [&] {
      const auto bytes = ReadFile(file);
      return bytes.ok() && bytes->empty();
    };
    for (int i = 0; i < 100000 && !environment.empty() && unread(); ++i) sched_yield();
  }
  ~Sleeper() { End(); }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  pid_t pid() const { return pid_; }
  void End() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

std::string Only(const std::vector<std::string>& sentences) {
  EXPECT_EQ(sentences.size(), 1u) << Join(sentences, "\n");
  return sentences.empty() ? "" : sentences[0];
}

bool IsRoot() {
  return geteuid() == 0;
}

TEST(Leftovers, AreNoneWhenNothingWasLeft) {
  Scene scene;
  EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
}

TEST(Leftovers, AProcessWithTheMarkIsFoundAndEnded) {
  Scene scene;
  Sleeper sleeper({"MUSTER_TEST_MARK=" + scene.mark()});
  EXPECT_EQ(Only(scene.Leftovers(kNow)),
            "process " + std::to_string(sleeper.pid()) + " is still running: sleep 600 ");
  scene.EndProcesses();
  int status = 0;
  EXPECT_EQ(waitpid(sleeper.pid(), &status, 0), sleeper.pid());
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST(Leftovers, AProcessWithACookieIsFoundWhateverItForgot) {
  Scene scene;
  Sleeper sleeper({"MUSTER_CLUSTER_COOKIE=abc"});
  EXPECT_NE(Only(scene.Leftovers(kNow)).find("is still running"), std::string::npos);
}

TEST(Leftovers, AProcessOfAnotherTestOrFromBeforeIsNotOurs) {
  Sleeper before({"MUSTER_CLUSTER_COOKIE=abc"});
  Scene scene;
  Sleeper other({"MUSTER_CLUSTER_COOKIE=abc", "MUSTER_TEST_MARK=1-1"});
  EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
}

TEST(Leftovers, AJobOfAnotherLivingTestIsNotOurs) {
  Scene scene;
  Sleeper other({});
  const std::string folder = "/tmp/muster-test-" + std::to_string(other.pid()) + "-abcdef/run";
  Sleeper job({"MUSTER_CLUSTER_COOKIE=abc", "PMIX_SERVER_TMPDIR=" + folder});
  EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
  other.End();
  EXPECT_NE(Only(scene.Leftovers(kNow)).find("is still running"), std::string::npos);
  Sleeper own({"MUSTER_CLUSTER_COOKIE=abc", "PMIX_SERVER_TMPDIR=" + scene.folder() + "/run"});
  EXPECT_EQ(scene.Leftovers(kNow).size(), 2U);
}

TEST(Leftovers, APortIsFound) {
  Scene scene;
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
  ASSERT_EQ(listen(listener.get(), 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_TRUE(Only(scene.Leftovers(kNow))
                  .starts_with("someone listens on 127.0.0.1:" +
                               std::to_string(ntohs(address.sin_port)) + ": process "));
}

TEST(Leftovers, FilesAreFound) {
  for (const std::string& path : {"/tmp/muster-planted-" + std::to_string(getpid()),
                                  "/dev/shm/vader_segment.planted." + std::to_string(getpid())}) {
    Scene scene;
    std::ofstream(path) << "x";
    const std::vector<std::string> found = scene.Leftovers(kNow);
    fs::remove(path);
    EXPECT_EQ(Only(found), "file " + path + " is still there");
    EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
  }
}

TEST(Leftovers, AFolderInMustersOwnIsFound) {
  const std::string own = "/tmp/muster-planted-" + std::to_string(getpid());
  fs::create_directory(own);
  Scene scene;
  fs::create_directory(own + "/cluster");
  const std::vector<std::string> found = scene.Leftovers(kNow);
  fs::remove_all(own);
  EXPECT_EQ(Only(found), "file " + own + "/cluster is still there");
}

TEST(Leftovers, TheRuntimeFolderMustBeEmpty) {
  Scene scene;
  ASSERT_TRUE(GetEnv("XDG_RUNTIME_DIR").value_or("").starts_with(scene.folder()));
  std::ofstream(scene.folder() + "/run/jobd.sock") << "x";
  EXPECT_NE(Only(scene.Leftovers(kNow)).find("/run/jobd.sock is still there"), std::string::npos);
}

TEST(Leftovers, TheFolderOfAnotherLivingTestIsNotOurs) {
  Scene scene;
  Sleeper other({});
  const std::string theirs = "/tmp/muster-test-" + std::to_string(other.pid()) + "-abcdef";
  fs::create_directory(theirs);
  EXPECT_EQ(Join(scene.Leftovers(kNow), "\n"), "");
  other.End();
  const std::vector<std::string> found = scene.Leftovers(kNow);
  fs::remove(theirs);
  EXPECT_EQ(Only(found), "file " + theirs + " is still there");
}

TEST(Leftovers, ANetworkNamespaceIsFound) {
  if (!IsRoot()) GTEST_SKIP() << "skipped: needs root";
  Scene scene;
  const std::string name = "muster-planted-" + std::to_string(getpid());
  ASSERT_EQ(system(("ip netns add " + name).c_str()), 0);
  const std::string found = Join(scene.Leftovers(kNow), "\n");
  EXPECT_EQ(system(("ip netns delete " + name).c_str()), 0);
  EXPECT_NE(found.find("network namespace " + name + " is still there"), std::string::npos)
      << found;
}

TEST(Leftovers, AMountIsFound) {
  if (!IsRoot()) GTEST_SKIP() << "skipped: needs root";
  Scene scene;
  const std::string place = scene.folder() + "/tmp";
  ASSERT_EQ(mount("planted", place.c_str(), "tmpfs", 0, "size=4k"), 0);
  const std::vector<std::string> found = scene.Leftovers(kNow);
  EXPECT_EQ(umount(place.c_str()), 0);
  EXPECT_EQ(Only(found), "mount " + place + " is still there");
}

TEST(Leftovers, ACgroupIsFound) {
  const std::string name = "/muster-planted-" + std::to_string(getpid());
  std::string made;
  for (const char* root : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup"}) {
    Scene scene;
    std::error_code error;
    if (!fs::create_directory(root + name, error)) continue;
    made = root + name;
    const std::vector<std::string> found = scene.Leftovers(kNow);
    rmdir(made.c_str());
    EXPECT_EQ(Only(found), "cgroup " + made + " is still there");
    break;
  }
  if (made.empty()) GTEST_SKIP() << "skipped: may make no cgroup here";
}

TEST(Leftovers, WhatGoesAwayInTimeIsNone) {
  Scene scene;
  // It ends by itself, and is reaped by nobody until then: a zombie has no environment.
  std::string program = "sleep", argument = "0.2", entry = "MUSTER_TEST_MARK=" + scene.mark();
  char* argv[] = {program.data(), argument.data(), nullptr};
  char* env[] = {entry.data(), nullptr};
  pid_t pid = -1;
  ASSERT_EQ(posix_spawn(&pid, "/bin/sleep", nullptr, nullptr, argv, env), 0);
  EXPECT_EQ(Join(scene.Leftovers(), "\n"), "");
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

// ---- The pure part
// -------------------------------------------------------------------------------

TEST(Traces, ListeningSocketsAreReadFromProc) {
  const auto sockets = ListeningSockets(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
      "4711 1 0 100 0\n"
      "   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 "
      "4712 1 0 100 0\n");
  EXPECT_EQ(sockets, (std::map<std::string, std::string>{{"4711", "127.0.0.1:8080"}}));
}

TEST(Traces, OnlyNamesOfOursCount) {
  EXPECT_TRUE(IsOurName("muster-0"));
  EXPECT_TRUE(IsOurName("ompi.host.0"));
  EXPECT_FALSE(IsOurName("ccXXXX.s"));
  EXPECT_EQ(TestFolderOwner("muster-test-4711-abc"), 4711);
  EXPECT_EQ(TestFolderOwner("muster-0"), 0);
  EXPECT_EQ(TestFolderOwner("muster-test-x-abc"), 0);
  EXPECT_EQ(TestFolderNamedIn("--status /tmp/muster-test-4711-abc/state"), 4711);
  EXPECT_EQ(TestFolderNamedIn("--status /tmp/muster-0/state"), 0);
}

}  // namespace
}  // namespace muster::testing
