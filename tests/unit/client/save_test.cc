// Saves in the C library when the world gets in the way; the test is the job daemon.  One process
// has one link, so all tests share it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stop_token>
#include <thread>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/link.h"
#include "runtime/client/checkpoint_codec.h"
#include "runtime/client/muster_checkpoint.h"
#include "runtime/client/saves.h"

namespace muster {
namespace {

class Save : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::array<int, 2> ends{};
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0);
    jobd = ends[0];
    const timeval patience{.tv_sec = 30, .tv_usec = 0};
    CHECK(setsockopt(jobd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    SetEnv("MUSTER_RANK", "0");
    SetEnv("MUSTER_WORLD_SIZE", "1");
    SetEnv("MUSTER_LOCAL_RANK", "0");
    SetEnv("MUSTER_LOCAL_WORLD_SIZE", "1");
    SetEnv("MUSTER_CHECKPOINT_STORE", "/store");
    SetEnv("MUSTER_LINK_FD", std::to_string(ends[1]));
    SetEnv("MUSTER_LINK_TOKEN", "secret");
    CHECK(muster_can_save());
  }

  template <typename T>
  static T Await() {
    for (;;) {
      std::string bytes(link::kPacketMax, '\0');
      const ssize_t n = recv(jobd, bytes.data(), bytes.size(), 0);
      CHECK(n > 0);
      auto message = link::DecodePacket<link::ToJobd>({bytes.data(), static_cast<std::size_t>(n)});
      CHECK(message.ok() && message->has_value());
      if (auto* wanted = std::get_if<T>(&**message)) return std::move(*wanted);
    }
  }
  static void Say(const link::ToRank& message, int fd = -1) {
    std::string packet = link::EncodePacket(message, 0);
    iovec part{.iov_base = packet.data(), .iov_len = packet.size()};
    std::array<char, CMSG_SPACE(sizeof fd)> control{};
    msghdr with{};
    with.msg_iov = &part;
    with.msg_iovlen = 1;
    if (fd >= 0) {
      with.msg_control = control.data();
      with.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&with);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof fd);
      memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    CHECK(sendmsg(jobd, &with, 0) > 0);
  }
  static UniqueFd Stage() {
    UniqueFd fd(memfd_create("stage", MFD_CLOEXEC));
    CHECK(fd.valid() && ftruncate(fd.get(), 4096) == 0);
    return fd;
  }
  static int SaveStep(std::uint64_t step) {
    static std::array<unsigned char, 8> bytes{};
    static const std::array<std::uint64_t, 1> kShape = {8};
    const muster_tensor tensor = {"t", "U8", 1, kShape.data(), nullptr, nullptr, bytes.data()};
    return muster_save(step, &tensor, 1, nullptr, 60000);
  }

  static inline int jobd = -1;
};

TEST_F(Save, AProcessThatHasOpenedAllItMaySaysSoAndItsNodeDoesNotWait) {
  const UniqueFd stage = Stage();
  Say(link::SaveInto{.step = 1, .bytes = 8}, stage.get());
  rlimit all{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
  // None beyond those that are open.
  const rlimit few{.rlim_cur = static_cast<rlim_t>(stage.get()) + 1, .rlim_max = all.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const int status = SaveStep(1);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
  EXPECT_EQ(status, MUSTER_NOT_SAVED);
  const std::string error = muster_error();
  EXPECT_NE(error.find("step 1 was not saved: the job daemon's memory did not arrive: this process "
                       "has opened as many files as it may"),
            std::string::npos)
      << error;
  const auto copied = Await<link::SaveCopied>();
  EXPECT_EQ(copied.step, 1U);
  EXPECT_NE(copied.error.find("as many files as it may"), std::string::npos);
}

TEST_F(Save, APlaceThatComesAfterItWasGivenUpIsGivenBack) {
  const UniqueFd stage = Stage();
  Say(link::SaveInto{.step = 2, .bytes = 8}, stage.get());
  EXPECT_EQ(muster_should_stop(), 0);  // Takes in what has come.
  const auto copied = Await<link::SaveCopied>();
  EXPECT_EQ(copied.step, 2U);
  EXPECT_EQ(copied.error, "it had given up waiting for a place to copy to");
  // One that says that there is none is over by itself.
  Say(link::SaveInto{.step = 3, .error = "rank 1 has ended"});
  Say(link::SaveInto{.step = 4, .bytes = 8}, stage.get());
  EXPECT_EQ(muster_should_stop(), 0);
  EXPECT_EQ(Await<link::SaveCopied>().step, 4U);
}

TEST_F(Save, WhoGivesUpWhatDidNotBeginHearsWhyItDidNot) {
  Say(link::SaveInto{.step = 5, .error = "no memory"});
  EXPECT_EQ(SaveStep(5), MUSTER_NOT_SAVED);
  EXPECT_EQ(muster_save_end("Error: it did not begin"), MUSTER_INVALID);
  EXPECT_STREQ(muster_error(), "step 5 was not saved: no memory");
}

TEST_F(Save, AForkedChildIsRefusedAlsoWhenAnotherThreadHeldTheLock) {
  const std::jthread asks([](const std::stop_token& stop) {
    while (!stop.stop_requested()) muster_wait_saved(nullptr, 0);
  });
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(30);
      std::int64_t step = 0;
      const bool refused = muster_wait_saved(&step, 1000) == MUSTER_FORKED && step == -1 &&
                           SaveStep(9) == MUSTER_FORKED &&
                           std::string(muster_error())
                                   .find(
                                       "step 9 is not saved: this is a forked "
                                       "child of rank 0") == 0;
      _exit(refused ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "child " << i << ": " << muster_error();
  }
}

TEST(Saves, AfterALoadAnEarlierStepThatIsCommittedEndsAnOlderFailure) {
  muster_saves saves;
  muster_saves_begin(&saves);
  const muster_text why = {"full", 4};
  muster_saves_failed(&saves, 10, why);
  muster_saved saved = {.step = 9, .error = {"", 0}, .local = 0};
  muster_saves_heard(&saves, &saved);
  EXPECT_TRUE(saves.failed);
  muster_saves_loaded(&saves);
  EXPECT_TRUE(saves.failed);
  muster_saves_heard(&saves, &saved);
  EXPECT_FALSE(saves.failed);
}

}  // namespace
}  // namespace muster
