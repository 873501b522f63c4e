#include "runtime/client/stop_plan.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

namespace {

constexpr std::uint64_t kMs = 1000;

// Ranks of a job whose steps hold a collective: nobody ends step n before all have begun it.  Keys
// take `key_us` to arrive, and each rank hears Stop at a time of its own.
class Gang {
 public:
  Gang(int ranks, std::uint64_t step_us, std::uint64_t key_us)
      : step_us_(step_us), key_us_(key_us) {
    plans_.resize(static_cast<std::size_t>(ranks));
    for (int r = 0; r < ranks; ++r)
      muster_stop_begin(&plans_[static_cast<std::size_t>(r)], r, ranks);
  }

  // Step after step until a rank leaves; the calls at which each one did (0: it did not).
  std::vector<std::uint64_t> Run(const std::vector<std::uint64_t>& heard_us,
                                 std::uint32_t grace_ms) {
    std::vector<std::uint64_t> left(plans_.size(), 0);
    for (std::uint64_t now = 0; now < 60'000'000 && left == std::vector<std::uint64_t>(left.size());
         now += step_us_) {
      for (std::size_t r = 0; r < plans_.size(); ++r) {
        muster_stop_plan& plan = plans_[r];
        const std::uint64_t mine = now + r;  // Not all at once.
        if (mine >= heard_us[r]) muster_stop_asked(&plan, grace_ms, heard_us[r]);
        if (last_ > 0 && plan.told != 0 && mine >= told_at_ + key_us_) {
          muster_stop_learned(&plan, last_);
        }
        auto act = muster_stop_call(&plan, mine);
        if (act == MUSTER_SET_LAST) {
          last_ = plan.last;
          told_at_ = mine;
        }
        if (act == MUSTER_GET_LAST && last_ > 0 && mine + 100 * kMs >= told_at_ + key_us_) {
          muster_stop_learned(&plan, last_);
        }
        if (act == MUSTER_STOP_NOW || muster_stop_reached(&plan) != 0) left[r] = plan.calls;
      }
    }
    return left;
  }

 private:
  const std::uint64_t step_us_, key_us_;
  std::vector<muster_stop_plan> plans_;
  std::uint64_t last_ = 0, told_at_ = 0;
};

TEST(StopPlan, AllRanksLeaveAtTheSameCall) {
  for (const std::uint64_t step_us : {50UL, 1 * kMs, 30 * kMs, 400 * kMs, 2000 * kMs, 9000 * kMs}) {
    for (const std::uint64_t late_us : {0UL, 3 * kMs, 60 * kMs}) {
      for (const std::size_t late_rank : {0U, 2U}) {
        std::vector<std::uint64_t> heard(4, 10'000 * kMs + 777);
        heard[late_rank] += late_us;
        const auto left = Gang(4, step_us, 20 * kMs).Run(heard, 30000);
        EXPECT_GT(left[0], 0U);
        EXPECT_EQ(left, std::vector<std::uint64_t>(4, left[0]))
            << "steps of " << step_us << " us, rank " << late_rank << " hears " << late_us
            << " us late";
      }
    }
  }
}

TEST(StopPlan, LeavesWithinAboutASecondOrOneStep) {
  for (const std::uint64_t step_us : {1 * kMs, 100 * kMs, 3000 * kMs}) {
    const std::uint64_t heard = 10'000 * kMs;
    const auto left = Gang(2, step_us, kMs).Run({heard, heard}, 30000);
    const std::uint64_t after = (left[0] - 1) * step_us - heard;
    EXPECT_LE(after, 1100 * kMs + 2 * step_us) << step_us;
  }
}

TEST(StopPlan, AShortGraceLeavesTimeToSave) {
  const std::uint64_t heard = 3'000 * kMs;
  const auto left = Gang(2, 10 * kMs, kMs).Run({heard, heard + 15 * kMs}, 800);
  EXPECT_LE((left[0] - 1) * 10 * kMs - heard, 200 * kMs);
  EXPECT_EQ(left[0], left[1]);
}

TEST(StopPlan, StepsLongerThanTheGraceEndAtOnce) {
  muster_stop_plan plan;
  muster_stop_begin(&plan, 0, 2);
  EXPECT_EQ(muster_stop_call(&plan, 0), MUSTER_GO_ON);
  EXPECT_EQ(muster_stop_call(&plan, 20'000 * kMs), MUSTER_GO_ON);
  muster_stop_asked(&plan, 30000, 30'000 * kMs);
  EXPECT_EQ(muster_stop_call(&plan, 40'000 * kMs), MUSTER_SET_LAST);
  EXPECT_NE(muster_stop_reached(&plan), 0);
}

TEST(StopPlan, ARankAloneStopsAtOnce) {
  muster_stop_plan plan;
  muster_stop_begin(&plan, 0, 1);
  EXPECT_EQ(muster_stop_call(&plan, 0), MUSTER_GO_ON);
  muster_stop_asked(&plan, 30000, 1);
  EXPECT_EQ(muster_stop_call(&plan, 2), MUSTER_STOP_NOW);
  EXPECT_EQ(muster_stop_call(&plan, 3), MUSTER_STOP_NOW);
}

TEST(StopPlan, ARankWhoseRankZeroNeverAsksStopsAfterAPartOfTheGrace) {
  muster_stop_plan plan;
  muster_stop_begin(&plan, 1, 2);
  muster_stop_asked(&plan, 8000, 0);
  EXPECT_EQ(muster_stop_call(&plan, 0), MUSTER_GET_LAST);
  EXPECT_EQ(muster_stop_call(&plan, 1999 * kMs), MUSTER_GO_ON);
  EXPECT_EQ(muster_stop_call(&plan, 2000 * kMs), MUSTER_STOP_NOW);
}

TEST(StopPlan, ARankThatNeverReachesTheCallStopsWhileThereIsTimeToSave) {
  muster_stop_plan plan;
  muster_stop_begin(&plan, 1, 2);
  muster_stop_asked(&plan, 8000, 0);
  EXPECT_EQ(muster_stop_call(&plan, 0), MUSTER_GET_LAST);
  muster_stop_learned(&plan, 1000);
  EXPECT_EQ(muster_stop_call(&plan, 5999 * kMs), MUSTER_GO_ON);
  EXPECT_EQ(muster_stop_call(&plan, 6000 * kMs), MUSTER_STOP_NOW);
}

TEST(StopPlan, WhoLearnsTooLateStopsAtOnce) {
  muster_stop_plan plan;
  muster_stop_begin(&plan, 1, 2);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(muster_stop_call(&plan, i), MUSTER_GO_ON);
  muster_stop_asked(&plan, 8000, 10);
  EXPECT_EQ(muster_stop_call(&plan, 11), MUSTER_GET_LAST);
  muster_stop_learned(&plan, 5);
  EXPECT_NE(muster_stop_reached(&plan), 0);
}

}  // namespace
