#include "launcher/jobd/head_saves.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using std::chrono::seconds;

constexpr char kAll[] = "; all ranks save the same steps, in the same order, not rank 0 alone";

class HeadSavesTest : public testing::Test {
 protected:
  HeadSavesTest() {
    std::vector<Host> hosts(3);
    for (std::uint32_t i = 0; i < 3; ++i) {
      hosts[i].node = "n" + std::to_string(i);
      hosts[i].first_rank = 2 * i;
      hosts[i].slots.resize(i == 2 ? 1 : 2);
    }
    saves_.Begin(std::move(hosts));
  }
  void Come(std::uint32_t host, std::uint64_t step) { saves_.Came(host, step, now_ + seconds(10)); }
  bool End(std::uint32_t host, std::uint64_t step, std::uint64_t nonce = 1) {
    return saves_.End(host, {.step = step, .nonce = nonce}).has_value();
  }

  TimePoint now_{seconds(1000)};
  HeadSaves saves_;
};

TEST_F(HeadSavesTest, ASaveIsWholeWhenAllHostsHaveEndedIt) {
  EXPECT_TRUE(saves_.Came(1, 5, now_ + seconds(10)));
  EXPECT_FALSE(saves_.Came(0, 5, now_ + seconds(99)));
  EXPECT_FALSE(End(0, 5));
  EXPECT_FALSE(End(1, 5));
  const auto whole = saves_.End(2, {.step = 5, .nonce = 3});
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->size(), 3U);
  EXPECT_EQ(whole->at(2).nonce, 3U);
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(100)).empty());
}

TEST_F(HeadSavesTest, AStoreWithoutADeadlineIsNoReasonNotToWait) {
  EXPECT_EQ(HeadSaves::Wait(5'000, 120'000), std::chrono::minutes(2));
  EXPECT_EQ(HeadSaves::Wait(300'000, 120'000), std::chrono::minutes(5));
  EXPECT_EQ(HeadSaves::Wait(0, 0), std::chrono::minutes(10));
  EXPECT_EQ(HeadSaves::Wait(5'000, 0), std::chrono::minutes(10));
}

TEST_F(HeadSavesTest, HostsThatDoNotComeAreNamedAtTheDeadlineOfTheFirst) {
  Come(0, 5);
  EXPECT_FALSE(End(0, 5));
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(9)).empty());
  const std::string error =
      "ranks 2 to 3 (node n1), rank 4 (node n2) did not save it in time" + std::string(kAll);
  EXPECT_EQ(saves_.GiveUp(now_ + seconds(10)), (std::vector<HeadSaves::GivenUp>{{5, error}}));
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(20)).empty());  // Once.
  // One that comes after all hears of it; nobody waits for it.
  Come(1, 5);
  EXPECT_EQ(saves_.WhyGivenUp(1, {.step = 5, .nonce = 1}), error);
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(99)).empty());
  // Another try of the step is another save.
  EXPECT_EQ(saves_.WhyGivenUp(1, {.step = 5, .nonce = 2}), std::nullopt);
}

TEST_F(HeadSavesTest, WhoHasComeIsWaitedForAsLongAsItWrites) {
  Come(0, 5);
  Come(1, 5);
  End(0, 5);
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(99)).empty());
  EXPECT_FALSE(End(1, 5));
  ASSERT_EQ(saves_.GiveUp(now_ + seconds(99)).size(), 1U);
  Come(0, 6);
  Come(1, 6);
  Come(2, 6);
  End(0, 6);
  EXPECT_TRUE(saves_.GiveUp(now_ + seconds(99)).empty());
}

TEST_F(HeadSavesTest, NobodyWaitsForHostsWhoseRanksHaveEnded) {
  Come(2, 5);
  saves_.NoMore(2);  // It had come.
  EXPECT_TRUE(saves_.GiveUp(now_).empty());
  End(2, 5);
  EXPECT_TRUE(saves_.GiveUp(now_).empty());
  saves_.NoMore(1);
  const std::string error =
      "ranks 0 to 1 (node n0), ranks 2 to 3 (node n1) did not save it and ended";
  EXPECT_EQ(saves_.GiveUp(now_), (std::vector<HeadSaves::GivenUp>{{5, error + kAll}}));
  saves_.Begin({Host{}});
  EXPECT_EQ(saves_.WhyGivenUp(0, {.step = 5, .nonce = 1}), std::nullopt);
}

TEST_F(HeadSavesTest, WhatIsOlderThanACommitIsGivenUp) {
  Come(0, 5);
  End(0, 5);
  Come(1, 7);
  EXPECT_EQ(
      saves_.GiveUpOlder(6),
      (std::vector<HeadSaves::GivenUp>{{5, "n1, n2 had not saved it when step 6 was committed"}}));
  EXPECT_TRUE(saves_.GiveUpOlder(7).empty());
}

}  // namespace
}  // namespace muster
