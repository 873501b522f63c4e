// What a group over NCCL does when something fails or hangs: it ends in time, and says who.
#include <atomic>

#include "tests/unit/comm/nccl_ranks.h"

namespace muster::testing {
namespace {

constexpr int kRanks = 3;
constexpr auto kSoon = std::chrono::milliseconds(150);  // Nobody is expected to make it.
constexpr auto kLate = std::chrono::seconds(1);         // Whoever comes has come by then.

bool Says(const Status& status, const std::string& words) {
  return status.message().find(words) != std::string::npos;
}

NcclOptions Quick() {
  return {.init_timeout = kLate, .patience = std::chrono::milliseconds(200)};
}

// A group of its own for each test, whose fault is taken away in the end.
class NcclFault : public ::testing::TestWithParam<const char*> {
 protected:
  NcclFault() : fakes(GetParam()) {}
  void TearDown() override {
    Release();
    EXPECT_EQ(Fakes::Violations(), "");
    Fakes::ForgetViolations();
  }
  void Release() const { fakes.Plant(kFaultNone, 0, 0, 0); }

  // All ranks make a group, for which they have time, and `body` uses it.
  void Run(NcclOptions options,
           const std::function<void(Rank, std::unique_ptr<ProcessGroup>)>& body) {
    options.init_timeout = std::chrono::seconds(20);
    RunNcclRanks(fakes, kRanks, options, [&](Rank rank) {
      auto group = rank.session.World("w", rank.rank, kRanks, std::chrono::seconds(20));
      ASSERT_TRUE(group.ok()) << group.status().message();
      body(rank, *std::move(group));
    });
  }

  const Fakes fakes;
};

INSTANTIATE_TEST_SUITE_P(Versions, NcclFault, ::testing::Values(FAKE_NCCL, FAKE_NCCL_218));

TEST_P(NcclFault, AGroupThatIsNeverMadeEndsWithTheDeadline) {
  fakes.Plant(kFaultInitHangs, kRanks, 2, 0);
  RunNcclRanks(fakes, kRanks, Quick(), [](Rank rank) {
    const auto group = rank.session.World("w", rank.rank, kRanks);
    EXPECT_EQ(group.status().code(), Code::kDeadline);
    EXPECT_TRUE(Says(group.status(), "making the group of 3 ranks did not end in time"))
        << group.status().message();
  });
}

TEST_P(NcclFault, ARankThatNeverComesToTheGroupIsNamed) {
  RunNcclRanks(fakes, kRanks, Quick(), [](Rank rank) {
    if (rank.rank == 1) return;
    const auto group = rank.session.World("w", rank.rank, kRanks);
    EXPECT_EQ(group.status().code(), Code::kDeadline);
    EXPECT_TRUE(Says(group.status(), "rank 1 did not come")) << group.status().message();
  });
}

TEST_P(NcclFault, Rank0ThatNeverComesIsNamed) {
  RunNcclRanks(fakes, kRanks, Quick(), [](Rank rank) {
    if (rank.rank == 0) return;
    const auto group = rank.session.World("w", rank.rank, kRanks);
    EXPECT_EQ(group.status().code(), Code::kDeadline);
    EXPECT_TRUE(Says(group.status(), "rank 0 did not come")) << group.status().message();
  });
}

TEST_P(NcclFault, AGroupThatCannotBeMadeSaysWhyInTheWordsOfNccl) {
  fakes.Plant(kFaultInitFails, kRanks, 1, 0);
  RunNcclRanks(fakes, kRanks, Quick(), [](Rank rank) {
    const auto group = rank.session.World("w", rank.rank, kRanks);
    if (rank.rank != 1) return;  // The others learn of it from the launcher.
    EXPECT_EQ(group.status().code(), Code::kUnavailable);
    EXPECT_TRUE(Says(group.status(), "ncclSystemError")) << group.status().message();
  });
}

TEST_P(NcclFault, ASilentRankIsNamedAtTheDeadline) {
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    std::vector<float> values(1000, 1.0F);
    ASSERT_TRUE(group->all_reduce(values, ReduceOp::kSum).ok());
    if (rank.rank == 2) {
      // Present, and somewhere else: until the others have given up.
      ASSERT_TRUE(rank.store.Get("done/0", std::chrono::seconds(20)).ok());
      ASSERT_TRUE(rank.store.Get("done/1", std::chrono::seconds(20)).ok());
      return;
    }
    group->set_timeout(kLate);
    const Status status = group->all_reduce(values, ReduceOp::kSum);
    EXPECT_EQ(status.code(), Code::kDeadline);
    EXPECT_EQ(status.message(), "all_reduce f32[1000] sum (call 2): rank 2 did not come");
    EXPECT_EQ(group->barrier(), status);
    ASSERT_TRUE(rank.store.Set("done/" + std::to_string(rank.rank), "").ok());
  });
}

TEST_P(NcclFault, AnOperationThatHangsEndsAtTheDeadlineOnAllRanks) {
  fakes.Plant(kFaultOpHangs, kRanks, 1, 4);
  Run(Quick(), [](Rank, std::unique_ptr<ProcessGroup> group) {
    group->set_timeout(kSoon);
    std::vector<float> values(1000, 1.0F);
    Status status;
    for (int i = 0; i < 10 && status.ok(); ++i) status = group->all_reduce(values, ReduceOp::kSum);
    EXPECT_EQ(status.code(), Code::kDeadline);
    EXPECT_TRUE(Says(status, "all ranks came, but it does not end") || Says(status, "did not come"))
        << status.message();
  });
}

TEST_P(NcclFault, StartedWorkEndsWithTheDeadlineToo) {
  fakes.Plant(kFaultOpHangs, kRanks, 1, 0);
  Run(Quick(), [](Rank, std::unique_ptr<ProcessGroup> group) {
    group->set_timeout(kSoon);
    std::vector<float> values(1000, 1.0F);
    std::vector<float> others(1000, 1.0F);
    const auto one = group->start(Collective::AllReduce(values, ReduceOp::kSum));
    const auto two = group->start(Collective::AllReduce(others, ReduceOp::kSum));
    EXPECT_EQ(one->wait().code(), Code::kDeadline);
    EXPECT_EQ(two->wait().code(), Code::kDeadline);
  });
}

TEST_P(NcclFault, AnAsynchronousErrorEndsTheCallInTheWordsOfNccl) {
  fakes.Plant(kFaultAsyncError, kRanks, 1, 2);
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    group->set_timeout(kLate);
    std::vector<float> values(1000, 1.0F);
    Status status;
    for (int i = 0; i < 5 && status.ok(); ++i) status = group->all_reduce(values, ReduceOp::kSum);
    ASSERT_FALSE(status.ok());
    if (rank.rank == 1) {
      EXPECT_EQ(status.code(), Code::kInternal);
      EXPECT_TRUE(Says(status, "ncclInternalError")) << status.message();
    }
  });
}

TEST_P(NcclFault, ARankThatDiesIsNamedByTheOthers) {
  fakes.Plant(kFaultRankDies, kRanks, 1, 4);
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    std::vector<float> values(1000, 1.0F);
    ASSERT_TRUE(group->all_reduce(values, ReduceOp::kSum).ok());
    if (rank.rank == 1) {
      // Dead: its thread does no more until all is over.
      ASSERT_TRUE(rank.store.Get("done/0", std::chrono::seconds(20)).ok());
      ASSERT_TRUE(rank.store.Get("done/2", std::chrono::seconds(20)).ok());
      return;
    }
    const Status status = group->all_reduce(values, ReduceOp::kSum);
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_TRUE(Says(status, "ncclRemoteError")) << status.message();
    EXPECT_TRUE(Says(status, "rank 1 did not come")) << status.message();
    ASSERT_TRUE(rank.store.Set("done/" + std::to_string(rank.rank), "").ok());
  });
}

TEST_P(NcclFault, ACallThatHangsInsideNcclIsLeftAlone) {
  fakes.Plant(kFaultCallHangs, kRanks, 1, 4);
  Run(Quick(), [](Rank, std::unique_ptr<ProcessGroup> group) {
    group->set_timeout(kSoon);
    std::vector<float> values(1000, 1.0F);
    Status status;
    for (int i = 0; i < 10 && status.ok(); ++i) status = group->all_reduce(values, ReduceOp::kSum);
    EXPECT_EQ(status.code(), Code::kDeadline) << status.message();
  });
}

TEST_P(NcclFault, AnAbortThatHangsHoldsUpNobody) {
  fakes.Plant(kFaultAbortHangs, kRanks, 0, 0);
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    if (rank.rank != 0) return;
    const auto work = group->start(Collective::Barrier());
    const Status enough(Code::kAborted, "enough");
    group->abort(enough);
    EXPECT_EQ(work->wait(std::chrono::seconds(20)), enough);
  });
}

TEST_P(NcclFault, TheEndOfTheAttemptEndsWhatIsPending) {
  std::atomic<bool> over{false};
  NcclOptions options = Quick();
  const Status lost(Code::kAborted, "attempt 3 is over: node n2 was lost");
  options.attempt = [&] { return over ? lost : Status(); };
  Run(options, [&](Rank rank, std::unique_ptr<ProcessGroup> group) {
    if (rank.rank == 1) return;
    const auto work = group->start(Collective::Barrier());
    over = true;
    EXPECT_EQ(work->wait(std::chrono::seconds(20)), lost);
  });
}

// The survivors of a dead rank go on as a smaller group, whether NCCL can shrink or not.
TEST_P(NcclFault, TheSurvivorsOfADeadRankShrinkAndGoOn) {
  fakes.Plant(kFaultRankDies, kRanks, 1, 4);
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    std::vector<float> values(10, 1.0F);
    ASSERT_TRUE(group->all_reduce(values, ReduceOp::kSum).ok());
    if (rank.rank == 1) {
      ASSERT_TRUE(rank.store.Get("done/0", std::chrono::seconds(20)).ok());
      ASSERT_TRUE(rank.store.Get("done/2", std::chrono::seconds(20)).ok());
      return;
    }
    ASSERT_FALSE(group->all_reduce(values, ReduceOp::kSum).ok());
    auto left = group->shrink({1});
    ASSERT_TRUE(left.ok()) << left.status().message();
    EXPECT_EQ((*left)->world_size(), 2);
    EXPECT_EQ((*left)->rank(), rank.rank / 2);
    std::int64_t sum[] = {rank.rank};
    EXPECT_TRUE((*left)->all_reduce(std::span(sum), ReduceOp::kSum).ok());
    EXPECT_EQ(sum[0], 2);
    auto part = (*left)->split(0, 0);
    ASSERT_TRUE(part.ok()) << part.status().message();
    EXPECT_TRUE((*part)->barrier().ok());
    ASSERT_TRUE(rank.store.Set("done/" + std::to_string(rank.rank), "").ok());
  });
}

TEST_P(NcclFault, AGroupThatIsWholeCanShrinkToo) {
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    EXPECT_EQ(group->shrink({rank.rank}).status().code(), Code::kInvalid);
    EXPECT_EQ(group->shrink({kRanks}).status().code(), Code::kInvalid);
    ASSERT_TRUE(group->barrier().ok());
    if (rank.rank == 0) return;
    auto left = group->shrink({0});
    ASSERT_TRUE(left.ok()) << left.status().message();
    EXPECT_TRUE((*left)->barrier().ok());
    EXPECT_EQ(group->barrier().code(), Code::kAborted);
  });
}

TEST_P(NcclFault, AGroupThatIsClosedEndsWhatIsPending) {
  Run(Quick(), [](Rank rank, std::unique_ptr<ProcessGroup> group) {
    if (rank.rank != 0) return;
    const auto work = group->start(Collective::Barrier());
    group.reset();
    EXPECT_EQ(work->wait(std::chrono::seconds(20)).code(), Code::kAborted);
  });
}

}  // namespace
}  // namespace muster::testing
