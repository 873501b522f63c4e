#include "launcher/jobd/commit_tries.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

mover::Failed Eio() {
  return {.code = Code::kUnavailable, .text = "fsync: Input/output error"};
}

// When the tries begin, after a first failure at 0 and with failures that take `each`.
std::vector<Duration> Tries(const mover::Failed& failed, Duration each, Duration deadline) {
  std::vector<Duration> begins;
  CommitTries tries;
  TimePoint now{};
  tries.first_failed = now;
  while (const auto wait = WaitForNextTry(failed, tries, now, deadline)) {
    ++tries.failed;
    begins.push_back(now + *wait - tries.first_failed);
    now += *wait + each;
    EXPECT_LT(begins.size(), 1000U) << "without end";
  }
  return begins;
}

TEST(CommitTries, GoOnWithinTheDeadlineAndFartherApart) {
  const auto begins = Tries(Eio(), milliseconds(1), minutes(2));
  ASSERT_GT(begins.size(), 5U);
  EXPECT_EQ(begins[0], milliseconds(500));
  EXPECT_LE(begins.back(), minutes(2));
  EXPECT_GT(begins.back(), minutes(1));
  for (std::size_t i = 1; i < begins.size(); ++i) {
    EXPECT_LE(begins[i] - begins[i - 1], seconds(15) + milliseconds(1));
  }
  EXPECT_EQ(Tries(Eio(), milliseconds(1), Duration::zero()), begins) << "none is two minutes";
}

TEST(CommitTries, AStoreThatDoesNotAnswerIsAskedOnceMore) {
  EXPECT_EQ(Tries({.code = Code::kDeadline}, seconds(132), minutes(2)).size(), 1U);
  EXPECT_EQ(Tries({.code = Code::kDeadline}, milliseconds(110), milliseconds(100)).size(), 1U);
}

TEST(CommitTries, WhatDoesNotPassIsFinal) {
  for (const Code code : {Code::kExists, Code::kAborted, Code::kDataLoss, Code::kExhausted,
                          Code::kDenied, Code::kNotFound, Code::kInvalid}) {
    EXPECT_TRUE(Tries({.code = code}, seconds(0), minutes(2)).empty()) << static_cast<int>(code);
  }
  // Five movers have died over it by then.
  EXPECT_TRUE(Tries({.code = Code::kUnavailable, .text = "the mover ended before it answered"},
                    seconds(0), minutes(2))
                  .empty());
  EXPECT_FALSE(WaitForNextTry(mover::Committed{}, {}, TimePoint(), minutes(2)).has_value());
}

}  // namespace
}  // namespace muster
