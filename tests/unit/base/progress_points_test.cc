#include "runtime/base/progress_points.h"

#include <gtest/gtest.h>

#include <cmath>

namespace muster {
namespace {

TEST(ProgressPoints, RoundTrip) {
  const std::vector<ProgressPoint> points = {
      {.step = 1, .loss = 5.545177444479562, .tokens = 8192, .at_ms = 1795341600123},
      {.step = UINT64_MAX, .loss = -HUGE_VAL, .tokens = UINT64_MAX, .at_ms = -1},
      {.step = 2, .loss = 1e-300, .tokens = 0, .at_ms = 0}};
  std::string text;
  for (const ProgressPoint& point : points) text += ProgressLine(point);
  EXPECT_EQ(ReadProgressLines(text), points);
}

TEST(ProgressPoints, ALossThatIsNoNumberIsKept) {
  const auto points = ReadProgressLines(ProgressLine({.step = 3, .loss = NAN}));
  ASSERT_EQ(points.size(), 1U);
  EXPECT_TRUE(std::isnan(points[0].loss));
}

TEST(ProgressPoints, LeavesOutWhatIsNoPoint) {
  const auto points = ReadProgressLines(
      "1 2.5 3 4\n"
      "\n"
      "5 2.5\n"
      "5 2.5 3 4 5\n"
      "-5 2.5 3 4\n"
      "5 x 3 4\n"
      "5 2.5 3 4x\n"
      "99999999999999999999 2.5 3 4\n"
      "6 2 3 4\n"
      "7 2 3 4");  // Still being written.
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].step, 1U);
  EXPECT_EQ(points[1].step, 6U);
}

}  // namespace
}  // namespace muster
