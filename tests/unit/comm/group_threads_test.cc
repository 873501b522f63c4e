#include "runtime/comm/group_threads.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace muster {
namespace {

// Runs `body(group)` as each rank of a group of `ranks` threads.
template <typename Body>
void RunRanks(int ranks, Body body) {
  ThreadsRendezvous rendezvous(ranks);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&rendezvous, rank, &body] {
      const auto group = MakeThreadsGroup(rendezvous, rank);
      body(*group);
    });
  }
}

TEST(ThreadsGroup, AllGatherAndBroadcastReachEveryRank) {
  RunRanks(5, [](ProcessGroup& group) {
    const auto mine = static_cast<std::byte>(10 + group.rank());
    std::vector<std::byte> all(5);
    ASSERT_TRUE(group.all_gather({&mine, 1}, all).ok());
    for (int i = 0; i < 5; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], std::byte(10 + i));
    std::byte word = group.rank() == 3 ? std::byte{77} : std::byte{0};
    ASSERT_TRUE(group.broadcast({&word, 1}, 3).ok());
    EXPECT_EQ(word, std::byte{77});
  });
}

TEST(ThreadsGroup, AllReduceOfIntegersGivesSumMinAndMax) {
  RunRanks(4, [](ProcessGroup& group) {
    for (const auto& [op, expected] :
         {std::pair{ReduceOp::kSum, 6}, {ReduceOp::kMin, 0}, {ReduceOp::kMax, 3}}) {
      std::int64_t value = group.rank();
      ASSERT_TRUE(group.all_reduce({&value, 1}, op).ok());
      EXPECT_EQ(value, expected);
    }
  });
}

TEST(ThreadsGroup, MessagesOfOneTagArriveInOrder) {
  RunRanks(2, [](ProcessGroup& group) {
    const int peer = 1 - group.rank();
    for (int i = 0; i < 100; ++i) {
      const auto out = static_cast<std::byte>(i);
      std::byte in{};
      const auto receiving = group.recv({&in, 1}, peer, 7);
      const auto sending = group.send({&out, 1}, peer, 7);
      ASSERT_TRUE(sending->wait().ok() && receiving->wait().ok());
      EXPECT_EQ(in, out);
    }
  });
}

TEST(ThreadsGroup, AWaitForASilentPeerEndsWithDeadline) {
  ThreadsRendezvous rendezvous(2);
  const auto group = MakeThreadsGroup(rendezvous, 0, std::chrono::milliseconds(10));
  EXPECT_EQ(group->barrier().code(), Code::kDeadline);
  std::byte in{};
  EXPECT_EQ(group->recv({&in, 1}, 1, 0)->wait(std::chrono::milliseconds(10)).code(),
            Code::kDeadline);
}

}  // namespace
}  // namespace muster
