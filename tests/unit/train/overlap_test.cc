#include "runtime/train/overlap_posix.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

namespace muster {
namespace {

struct alignas(64) Lines {
  std::array<std::byte, 2 * Overlap::kLine> bytes{};
};

TEST(Overlap, WaitsUntilTheOtherRankHasComeSoFar) {
  Lines lines;
  CommunicationOverlap mine;
  CommunicationOverlap theirs;
  mine.Open(lines.bytes, 0);
  theirs.Open(lines.bytes, 1);
  EXPECT_EQ(mine.Await(1, 1, Duration::zero()).code(), Code::kDeadline);
  std::atomic<std::uint32_t> told{0};
  std::jthread other([&] {
    for (std::uint32_t mark = 1; mark <= 2000; ++mark) {
      told = mark;
      theirs.Reach(mark);
    }
  });
  for (std::uint32_t mark = 1; mark <= 2000; ++mark) {
    ASSERT_TRUE(mine.Await(1, mark, std::chrono::seconds(20)).ok()) << mark;
    ASSERT_GE(told.load(), mark);
  }
}

TEST(Overlap, MarksWrapRound) {
  Lines lines;
  CommunicationOverlap mine;
  mine.Open(lines.bytes, 0);
  mine.Reach(0xFFFFFFF0U);
  EXPECT_TRUE(mine.Await(0, 0xFFFFFFF0U, Duration::zero()).ok());
  EXPECT_FALSE(mine.Await(0, 5, Duration::zero()).ok());
  mine.Reach(5);
  EXPECT_TRUE(mine.Await(0, 0xFFFFFFF0U, Duration::zero()).ok());
}

TEST(Overlap, OpeningForgetsWhatAnEarlierAttemptLeft) {
  Lines lines;
  {
    CommunicationOverlap before;
    before.Open(lines.bytes, 1);
    before.Reach(1000);
  }
  CommunicationOverlap after;
  after.Open(lines.bytes, 1);
  EXPECT_EQ(after.Await(1, 1, Duration::zero()).code(), Code::kDeadline);
}

TEST(Overlap, TheOtherThreadWorksUntilEndAndIsUsedAgain) {
  CommunicationOverlap overlap;
  std::thread::id first;
  std::thread::id second;
  overlap.Begin([&] {
    first = std::this_thread::get_id();
    return Status();
  });
  EXPECT_TRUE(overlap.End().ok());
  overlap.Begin([&] {
    second = std::this_thread::get_id();
    return Status(Code::kUnavailable, "lost");
  });
  EXPECT_EQ(overlap.End().message(), "lost");
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

TEST(Overlap, CancelEndsAWaitWithItsReason) {
  Lines lines;
  CommunicationOverlap overlap;
  overlap.Open(lines.bytes, 0);
  overlap.Begin([&] { return overlap.Await(1, 1, std::chrono::minutes(10)); });
  overlap.Cancel(Status(Code::kInvalid, "the model failed"));
  EXPECT_EQ(overlap.End().message(), "the model failed");
}

}  // namespace
}  // namespace muster
