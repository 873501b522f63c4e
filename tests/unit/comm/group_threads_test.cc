#include "runtime/comm/group_threads.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/comm/conformance.h"

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

TEST(ThreadsGroup, KeepsThePromisesOfEveryGroup) {
  for (const int ranks : {1, 2, 5}) {
    RunRanks(ranks, [](ProcessGroup& group) {
      for (const std::string& broken : testing::BrokenPromises(group)) {
        ADD_FAILURE() << "rank " << group.rank() << " of " << group.world_size() << ": " << broken;
      }
    });
  }
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
