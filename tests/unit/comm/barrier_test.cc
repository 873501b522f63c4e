#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

#include "runtime/comm/barrier_posix.h"

namespace muster {
namespace {

TEST(NodeBarrier, NobodyLeavesBeforeEverybodyCame) {
  constexpr int kRanks = 6;
  constexpr int kRounds = 500;
  NodeBarrier::Shared shared{};
  std::atomic<int> came{0};
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&] {
      NodeBarrier barrier(shared, kRanks, 0);
      for (int round = 1; round <= kRounds; ++round) {
        ++came;
        ASSERT_TRUE(barrier.Wait().ok());
        ASSERT_GE(came.load(), round * kRanks);
        ASSERT_TRUE(barrier.Wait().ok());
      }
    });
  }
}

// More ranks than cores: some go to sleep late, when their round is over and others sleep already
// in the next.
TEST(NodeBarrier, ASleeperOfTheNextRoundIsNotForgotten) {
  constexpr int kRanks = 4;
  constexpr int kRounds = 40000;
  NodeBarrier::Shared shared{};
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&] {
      NodeBarrier barrier(shared, kRanks, 0, std::chrono::seconds(20));
      for (int round = 0; round < kRounds; ++round) {
        const Status waited = barrier.Wait();
        ASSERT_TRUE(waited.ok()) << "round " << round << ": " << waited.message();
      }
    });
  }
}

TEST(NodeBarrier, TellsWhoIsMissingInsteadOfHanging) {
  NodeBarrier::Shared shared{};
  NodeBarrier barrier(shared, 3, 0, std::chrono::milliseconds(5));
  const Status status = barrier.Wait();
  EXPECT_EQ(status.code(), Code::kDeadline);
  EXPECT_NE(status.message().find("1 of 3"), std::string::npos) << status.message();
}

// Ranks of attempt 0 are killed with SIGKILL while they wait; the ranks of attempt 1 meet in the
// same memory as if it were new.
TEST(NodeBarrier, ANewAttemptIsNotConfusedByRanksThatWereKilledInIt) {
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& shared = *new (memory) NodeBarrier::Shared{};
  std::vector<pid_t> killed;
  for (int rank = 0; rank < 2; ++rank) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      const Status waited = NodeBarrier(shared, 3, 0).Wait();
      _exit(waited.ok() ? 1 : 2);  // Not reached: the third never comes.
    }
    killed.push_back(pid);
  }
  while (((shared.word.load() >> 32U) & 0xFFFFU) != 2) std::this_thread::yield();
  for (const pid_t pid : killed) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&] {
      NodeBarrier barrier(shared, 3, 1);
      for (int round = 0; round < 10; ++round) ASSERT_TRUE(barrier.Wait().ok());
    });
  }
  threads.clear();
  munmap(memory, 4096);
}

}  // namespace
}  // namespace muster
