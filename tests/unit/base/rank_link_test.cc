#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "runtime/base/link_posix.h"

namespace muster {
namespace {

// The job daemon's end, held by the test.
class RankLinkTest : public ::testing::Test {
 protected:
  RankLinkTest() {
    std::array<int, 2> ends{};
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0);
    jobd_.Reset(ends[0]);
    auto opened = RankLink::Open({.link_fd = ends[1], .link_token = "secret"});
    CHECK(opened.ok());
    link_ = *std::move(opened);
    theirs_ = ends[1];
  }

  std::optional<link::ToJobd> Heard() {
    std::string bytes(link::kPacketMax, '\0');
    const ssize_t n = recv(jobd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n <= 0) return std::nullopt;
    auto message = link::DecodePacket<link::ToJobd>({bytes.data(), static_cast<std::size_t>(n)});
    CHECK(message.ok());
    return *std::move(message);
  }
  void Say(const link::ToRank& message, int fd = -1) {
    std::string packet = link::EncodePacket(message, 0);
    iovec part{.iov_base = packet.data(), .iov_len = packet.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (fd >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      *CMSG_FIRSTHDR(&header) = {
          .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
      std::memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &fd, sizeof fd);
    }
    CHECK(sendmsg(jobd_.get(), &header, 0) > 0);
  }

  UniqueFd jobd_;
  std::unique_ptr<RankLink> link_;
  int theirs_ = -1;
};

TEST_F(RankLinkTest, SaysHelloWithItsPidAndTokenAndClosesOnExec) {
  const auto heard = Heard();
  ASSERT_TRUE(heard);
  EXPECT_EQ(std::get<link::Hello>(*heard).pid, getpid());
  EXPECT_EQ(std::get<link::Hello>(*heard).token, "secret");
  EXPECT_EQ(fcntl(theirs_, F_GETFD), FD_CLOEXEC);
}

TEST_F(RankLinkTest, AReportNeverBlocksHoweverLongNobodyReads) {
  for (std::uint64_t step = 0; step < 100'000; ++step) link_->Report({.step = step});
  std::uint64_t heard = 0;
  while (Heard()) ++heard;
  EXPECT_GT(heard, 1U);
  EXPECT_LT(heard, 100'000U);  // Else this test did not fill the socket.
}

TEST_F(RankLinkTest, AForkedChildIsSilent) {
  Heard();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    link_->Report({.step = 1});
    link_->Bye(0);
    _exit(link_->Poll({}).code() == Code::kAborted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(Heard());
}

TEST_F(RankLinkTest, MemoryComesAsADescriptorAndWhatComesBetweenIsKept) {
  const UniqueFd fd(memfd_create("x", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(fd.get(), 100), 0);
  Say(link::Stop{.grace_ms = 5});
  Say(link::Saved{.step = 8});
  Say(link::Memory{.name = "state", .bytes = 100, .busy = true}, fd.get());
  const auto memory = link_->GetMemory("state", 100, std::chrono::seconds(10));
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  EXPECT_TRUE(memory->fd.valid());
  EXPECT_TRUE(memory->busy);
  EXPECT_TRUE(link_->stop_requested());
  const auto saved = link_->TakeSaved();
  ASSERT_EQ(saved.size(), 1U);
  EXPECT_EQ(saved[0].step, 8U);
  EXPECT_TRUE(link_->TakeSaved().empty());
}

TEST_F(RankLinkTest, KeysAreSetAndGotAndWhatComesBetweenIsKept) {
  static_cast<void>(Heard());  // Hello.
  ASSERT_TRUE(link_->KvSet("nccl/id", "abc").ok());
  EXPECT_EQ(std::get<link::KvSet>(*Heard()).value, "abc");
  Say(link::Stop{});
  Say(link::KvValue{.key = "another", .value = "x", .found = true});
  Say(link::KvValue{.key = "nccl/id", .value = "abc", .found = true});
  const auto value = link_->KvGet("nccl/id", std::chrono::milliseconds(1500));
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ(*value, "abc");
  EXPECT_EQ(std::get<link::KvGet>(*Heard()).timeout_ms, 1500U);
  EXPECT_TRUE(link_->stop_requested());
  Say(link::KvValue{.key = "late"});
  EXPECT_EQ(link_->KvGet("late", Duration::zero()).status().code(), Code::kDeadline);
}

TEST_F(RankLinkTest, ARefusedMemoryAndASilentDaemonAreErrors) {
  Say(link::Memory{.name = "state", .error = "the job's memory is used up"});
  EXPECT_EQ(link_->GetMemory("state", 100, std::chrono::seconds(10)).status().message(),
            "state: the job's memory is used up");
  EXPECT_EQ(link_->GetMemory("state", 100, std::chrono::milliseconds(10)).status().code(),
            Code::kDeadline);
  jobd_.Reset();
  EXPECT_EQ(link_->Poll({}).code(), Code::kUnavailable);
}

TEST_F(RankLinkTest, AStagedListTooLongForAPacketGoesInSeveral) {
  Heard();
  link::Staged staged{.step = 3, .memory = "stage0", .host_state = "{}"};
  for (int i = 0; i < 1000; ++i) {
    staged.tensors.push_back({.name = "a.long.name.of.a.tensor.number." + std::to_string(i),
                              .dtype = "F32",
                              .global_shape = {4, 4},
                              .offset = {0, 0},
                              .shape = {4, 4}});
  }
  ASSERT_TRUE(link_->Stage(staged).ok());
  std::vector<link::StagedTensor> heard;
  std::string host_state;
  int packets = 0;
  for (bool more = true; more; ++packets) {
    const auto message = Heard();
    ASSERT_TRUE(message);
    const auto& part = std::get<link::Staged>(*message);
    heard.insert(heard.end(), part.tensors.begin(), part.tensors.end());
    host_state += part.host_state;
    more = part.more;
  }
  EXPECT_GT(packets, 1);
  EXPECT_EQ(heard, staged.tensors);
  EXPECT_EQ(host_state, "{}");
}

}  // namespace
}  // namespace muster
