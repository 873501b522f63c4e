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

class EveryGroup : public ::testing::TestWithParam<int> {};

TEST_P(EveryGroup, OfThreadsKeepsItsPromises) {
  RunRanks(GetParam(), [](ProcessGroup& group) {
    for (const std::string& broken : testing::BrokenPromises(group)) {
      ADD_FAILURE() << "rank " << group.rank() << " of " << group.world_size() << ": " << broken;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, EveryGroup, ::testing::Values(1, 2, 3, 5, 8));

TEST(ThreadsGroup, AWaitForASilentPeerEndsWithDeadlineAndItsName) {
  ThreadsRendezvous rendezvous(3);
  std::byte in{};
  const auto other = MakeThreadsGroup(rendezvous, 0, std::chrono::milliseconds(10));
  EXPECT_EQ(other->recv(std::span(&in, 1), 1).code(), Code::kDeadline);
  const auto group = MakeThreadsGroup(rendezvous, 1, std::chrono::milliseconds(10));
  const Status status = group->barrier();
  EXPECT_EQ(status.code(), Code::kDeadline);
  EXPECT_NE(status.message().find("rank 0, 2 did not come to barrier (call 1"), std::string::npos)
      << status.message();
  EXPECT_EQ(group->barrier(), status);
}

TEST(ThreadsGroup, AbortEndsABlockingCallFromAnotherThread) {
  ThreadsRendezvous rendezvous(2);
  const auto group = MakeThreadsGroup(rendezvous, 0);
  const Status reason(Code::kAborted, "the launcher says stop");
  std::jthread other([&] { group->abort(reason); });
  EXPECT_EQ(group->barrier(), reason);
}

TEST(ThreadsGroup, AGroupThatIsClosedEndsWhatIsPending) {
  ThreadsRendezvous rendezvous(2);
  auto group = MakeThreadsGroup(rendezvous, 0);
  const auto work = group->start(Collective::Barrier());
  group.reset();
  EXPECT_TRUE(work->done());
}

// What a recorder will do.
class Listener final : public CollectiveObserver {
 public:
  void Began(std::uint64_t seq, const Collective& call) override {
    heard.push_back("began " + std::to_string(seq) + " " + Describe(SignatureOf(call)));
  }
  void Ended(std::uint64_t seq, const Collective& call, const Status& status) override {
    heard.push_back("ended " + std::to_string(seq) + " " + NameOf(call.kind) + " " +
                    CodeName(status.code()));
  }
  std::vector<std::string> heard;
};

TEST(ThreadsGroup, AnObserverHearsOfEveryCall) {
  ThreadsRendezvous rendezvous(1);
  const auto group = MakeThreadsGroup(rendezvous, 0);
  Listener listener;
  group->observe(&listener);
  std::vector<float> values(3);
  EXPECT_TRUE(group->all_reduce(values, ReduceOp::kSum).ok());
  EXPECT_FALSE(group->broadcast(values, 4).ok());
  EXPECT_TRUE(group->start(Collective::Barrier())->wait().ok());
  const std::vector<std::string> expected = {"began 1 all_reduce f32[3] sum",
                                             "ended 1 all_reduce ok", "began 2 barrier",
                                             "ended 2 barrier ok"};
  EXPECT_EQ(listener.heard, expected);
}

}  // namespace
}  // namespace muster
