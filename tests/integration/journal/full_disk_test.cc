// The journal on a real file system that is full: a small tmpfs in a mount namespace of its own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>

#include "runtime/base/file_posix.h"
#include "tests/integration/journal/real_journal_threads.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {
namespace {

class JournalOnAFullDisk : public CleanTest {
 protected:
  // Runs `body` in a child with an empty file system of 1 MiB on `disk_`, which goes with it.
  void OnASmallDisk(const std::function<void()>& body) {
    ASSERT_EQ(MakeFolders(disk_), Status());
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                           mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                           mount("none", disk_.c_str(), "tmpfs", 0, "size=1m") == 0;
      EXPECT_TRUE(mounted);
      if (mounted) body();
      std::fflush(nullptr);
      _exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see above";
  }

  void Fill() {
    const UniqueFd fd(open(filler_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string block(512, 'x');
    while (write(fd.get(), block.data(), block.size()) > 0) {
    }
  }

  void DecideUntilFailure(Life* life) {
    JournalProgress progress = life->told().WaitFor(0);
    std::uint64_t durable = 0;
    for (int i = 0; i < 10000 && progress.failure.ok(); ++i) {
      durable = progress.durable;
      acknowledged_ = life->state();
      progress = life->told().WaitFor(life->Decide());
    }
    EXPECT_EQ(progress.failure.code(), Code::kExhausted) << progress.failure.message();
    EXPECT_NE(progress.failure.message().find(path_), std::string::npos);
    EXPECT_NE(progress.failure.message().find("full"), std::string::npos)
        << progress.failure.message();
    EXPECT_EQ(progress.durable, durable) << "what failed was not acknowledged";
    EXPECT_GT(durable, 0U);
  }

  std::string disk_ = scene_.folder() + "/disk";
  std::string path_ = disk_ + "/journal.sqlite";
  std::string filler_ = disk_ + "/filler";
  State acknowledged_;
};

TEST_F(JournalOnAFullDisk, FailsLosesNothingAndWorksAgainWhenThereIsRoom) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  OnASmallDisk([this] {
    Life life(path_);
    ASSERT_EQ(life.Begin(), Status());
    life.DecideAndWait(20);
    Fill();
    DecideUntilFailure(&life);
    EXPECT_EQ(life.Stop().code(), Code::kExhausted);

    unlink(filler_.c_str());
    Life next(path_, 2);
    ASSERT_EQ(next.Begin(), Status());
    EXPECT_EQ(next.state(), acknowledged_);
    EXPECT_EQ(next.DecideAndWait(20).durable, 20U);
    ASSERT_EQ(next.Stop(), Status());
    EXPECT_EQ(*Reopen(path_), next.state());
  });
}

TEST_F(JournalOnAFullDisk, ThatItFilledItselfKeepsWhatWasAcknowledged) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  OnASmallDisk([this] {
    Life life(path_);
    ASSERT_EQ(life.Begin(), Status());
    DecideUntilFailure(&life);
    EXPECT_EQ(life.Stop().code(), Code::kExhausted);
    const Result<State> state = Reopen(path_);
    if (state.ok()) {
      EXPECT_EQ(*state, acknowledged_);
    } else {
      EXPECT_EQ(state.status().code(), Code::kExhausted) << state.status().message();
    }
    ASSERT_EQ(mount("none", disk_.c_str(), "tmpfs", MS_REMOUNT, "size=8m"), 0);
    EXPECT_EQ(*Reopen(path_), acknowledged_);
  });
}

TEST_F(JournalOnAFullDisk, CannotBeginThereAndSaysWhy) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  OnASmallDisk([this] {
    Fill();
    const Status status = Reopen(path_).status();
    EXPECT_EQ(status.code(), Code::kExhausted) << status.message();
    unlink(filler_.c_str());
    EXPECT_TRUE(Reopen(path_).ok());
  });
}

TEST_F(JournalOnAFullDisk, AReadOnlyFileSystemIsRefusedWithItsName) {
  if (getuid() != 0) GTEST_SKIP() << "skipped: needs root";
  OnASmallDisk([this] {
    Life life(path_);
    ASSERT_EQ(life.Begin(), Status());
    life.DecideAndWait(20);
    ASSERT_EQ(life.Stop(), Status());
    ASSERT_EQ(mount("none", disk_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0);
    const Status status = Reopen(path_).status();
    EXPECT_EQ(status.code(), Code::kDenied);
    EXPECT_NE(status.message().find("Read-only file system"), std::string::npos)
        << status.message();
  });
}

}  // namespace
}  // namespace muster::testing
