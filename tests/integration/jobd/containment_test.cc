// Containment on real processes: what tries to get away is found and killed.
#include "runtime/base/containment_posix.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

constexpr const char* kName = "MUSTER_TEST_COOKIE";

std::string FreshCookie() {
  static int count = 0;
  return std::to_string(getpid()) + "-" + std::to_string(++count);
}

// Runs a shell script with the cookie in its environment; the script is in a session of its own.
pid_t Spawn(
    const std::string& cookie, const std::string& script,
    const std::function<void()>& in_child = [] {}) {
  const std::string entry = std::string(kName) + "=" + cookie;
  const pid_t pid = fork();
  if (pid == 0) {
    in_child();
    setsid();
    const char* argv[] = {"sh", "-c", script.c_str(), nullptr};
    const char* env[] = {"PATH=/usr/bin:/bin", entry.c_str(), nullptr};
    execve("/bin/sh", const_cast<char**>(argv), const_cast<char**>(env));
    _exit(127);
  }
  return pid;
}

// Reads one byte: the script has come as far as it should.
struct Gate {
  int fds[2] = {-1, -1};
  Gate() { EXPECT_EQ(pipe(fds), 0); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    close(fds[0]);
    close(fds[1]);
  }
  void Wait() const {
    char byte = 0;
    EXPECT_EQ(read(fds[0], &byte, 1), 1);
  }
  std::string Open() const { return "echo -n x >&" + std::to_string(fds[1]) + ";"; }
};

class ContainmentTest : public testing::Test {
 protected:
  // Orphans come to us, so that they can be waited for.
  void SetUp() override { ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); }
  void TearDown() override {
    for (const pid_t pid : Descendants(getpid())) kill(pid, SIGKILL);
    while (wait(nullptr) > 0) {
    }
  }
  static void Reap() {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
};

TEST_F(ContainmentTest, FindsADaemonThatForkedTwiceByItsCookie) {
  const Gate gate;
  const std::string cookie = FreshCookie();
  Spawn(cookie, "(setsid sh -c 'sleep 1000 & " + gate.Open() + " wait' &) ; exit 0");
  gate.Wait();
  const std::string entry = std::string(kName) + "=" + cookie;
  EXPECT_GE(CarriersOf(entry, getuid()).size(), 2U);
  EXPECT_TRUE(CarriersOf(entry + "0", getuid()).empty());
  EXPECT_TRUE(CarriersOf(entry, getuid() + 1).empty());
  const Containment what{.entry = entry, .uid = getuid()};
  while (KillRound(what, {}) != 0) Reap();
  EXPECT_TRUE(CarriersOf(entry, getuid()).empty());
}

TEST_F(ContainmentTest, SparesWhomItIsTold) {
  const Gate gate;
  const std::string cookie = FreshCookie();
  const pid_t spared = Spawn(cookie, gate.Open() + "exec sleep 1000");
  gate.Wait();
  const Containment what{.entry = std::string(kName) + "=" + cookie, .uid = getuid()};
  EXPECT_EQ(KillRound(what, {spared}), 0U);
  EXPECT_EQ(kill(spared, 0), 0);
}

TEST_F(ContainmentTest, SeesWholeTreesBelowASubreaper) {
  const Gate gate;
  Spawn(FreshCookie(), "(setsid sh -c 'sleep 1000 & " + gate.Open() + " wait' &) ; exit 0");
  gate.Wait();
  EXPECT_GE(Descendants(getpid()).size(), 2U);
}

// Forks without end; only a group, killed whole, ends it surely.
void KillsAForkingTree(const std::string& group) {
  const Gate gate;
  ASSERT_TRUE(MakeSubgroup(group, "ranks").ok());
  const std::string ranks = group + "/ranks";
  Spawn(FreshCookie(), gate.Open() + "while :; do (setsid sleep 5 &); done",
        [&] { EXPECT_TRUE(EnterGroup(ranks, 0).ok()); });
  gate.Wait();
  EXPECT_TRUE(GroupPopulated(group));
  while (GroupPopulated(group)) {
    KillGroup(group);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
  Status removed = RemoveGroup(group);
  EXPECT_TRUE(removed.ok()) << removed.message();
  EXPECT_FALSE(GroupPopulated(group));
}

TEST_F(ContainmentTest, KillsATreeThatForksWithoutEnd) {
  const std::string group = MakeGroup("muster-test-" + FreshCookie(), getuid(), getgid());
  if (group.empty()) GTEST_SKIP() << "skipped: needs root (no cgroup may be made here)";
  KillsAForkingTree(group);
}

TEST_F(ContainmentTest, KillsATreeThatForksWithoutEndInTheFreezer) {
  const std::string group = "/sys/fs/cgroup/freezer/muster-test-" + FreshCookie();
  if (mkdir(group.c_str(), 0755) != 0) {
    GTEST_SKIP() << "skipped: needs root and a v1 freezer at /sys/fs/cgroup/freezer";
  }
  EXPECT_FALSE(BirthGroup(group));
  KillsAForkingTree(group);
}

}  // namespace
}  // namespace muster
