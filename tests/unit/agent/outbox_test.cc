#include "launcher/agent/outbox.h"

#include <gtest/gtest.h>

#include "launcher/agent/logs.h"

namespace muster {
namespace {

TEST(Outbox, ANewerStatusReplacesTheOneThatWaits) {
  Outbox box;
  box.Put(JobdStatus{.job = 1, .phase = MemberPhase::kReady});
  box.Put(JobdStatus{.job = 2, .phase = MemberPhase::kReady});
  box.Put(JobdStatus{.job = 1, .phase = MemberPhase::kLeft});
  EXPECT_EQ(*box.Take(), Report(JobdStatus{.job = 1, .phase = MemberPhase::kLeft}));
  EXPECT_EQ(*box.Take(), Report(JobdStatus{.job = 2, .phase = MemberPhase::kReady}));
  EXPECT_FALSE(box.Take());
}

TEST(Outbox, MarksAndNotesSurviveABrokenStreamInOrder) {
  Outbox box;
  box.Put(JobdStatus{.job = 1});
  box.Put(JobMark{.job = 1, .at_us = 1});
  box.Put(JobProgress{.job = 1, .note = "two"});
  box.Put(JobProgress{.job = 1, .step = 9});
  ASSERT_TRUE(std::holds_alternative<JobdStatus>(*box.Take()));
  const Report mark = *box.Take();
  box.Return(mark);
  box.Broke();
  EXPECT_EQ(*box.Take(), mark);
  EXPECT_EQ(std::get<JobProgress>(*box.Take()).note, "two");
  EXPECT_FALSE(box.Take());
}

TEST(Outbox, KeepsTheNewestLines) {
  Outbox box;
  for (std::int64_t i = 0; i < 2000; ++i) box.Put(JobMark{.at_us = i});
  EXPECT_EQ(std::get<JobMark>(*box.Take()).at_us, 2000 - std::int64_t{Outbox::kLines});
}

TEST(LogWish, WantsItsAttemptsAndRanksOnly) {
  const LogWish wish{.first_attempt = 1, .last_attempt = 2, .first_rank = 4, .last_rank = 7};
  EXPECT_TRUE(Wants(wish, {.attempt = 1, .rank = 4}));
  EXPECT_TRUE(Wants(wish, {.attempt = 2, .rank = 7, .is_stderr = true}));
  EXPECT_FALSE(Wants(wish, {.attempt = 0, .rank = 4}));
  EXPECT_FALSE(Wants(wish, {.attempt = 3, .rank = 4}));
  EXPECT_FALSE(Wants(wish, {.attempt = 1, .rank = 3}));
  EXPECT_FALSE(Wants(wish, {.attempt = 1, .rank = 8}));
  LogWish some = wish;
  some.ranks = {5, 9};
  EXPECT_TRUE(Wants(some, {.attempt = 1, .rank = 5}));
  EXPECT_FALSE(Wants(some, {.attempt = 1, .rank = 4}));
  EXPECT_FALSE(Wants(some, {.attempt = 1, .rank = 9}));
}

}  // namespace
}  // namespace muster
