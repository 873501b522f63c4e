#include "launcher/cli/curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace muster {
namespace {

std::string Lines(std::uint64_t first, std::uint64_t last, double loss) {
  std::string text;
  for (std::uint64_t step = first; step <= last; ++step) {
    text += ProgressLine({.step = step, .loss = loss / static_cast<double>(step)});
  }
  return text;
}

std::vector<std::uint64_t> Steps(const std::vector<CurvePoint>& curve, AttemptNumber attempt) {
  std::vector<std::uint64_t> steps;
  for (const CurvePoint& item : curve) {
    if (item.attempt == attempt) steps.push_back(item.point.step);
  }
  return steps;
}

TEST(Curve, LeavesOutWhatALaterAttemptDidAgain) {
  const auto curve = CurveOf({{0, Lines(1, 10, 5)}, {1, Lines(6, 8, 5)}, {3, Lines(8, 12, 5)}});
  EXPECT_EQ(Steps(curve, 0), (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(Steps(curve, 1), (std::vector<std::uint64_t>{6, 7}));
  EXPECT_EQ(Steps(curve, 3), (std::vector<std::uint64_t>{8, 9, 10, 11, 12}));
}

TEST(Curve, ALoopThatWentBackCountsFromThere) {
  const auto curve = CurveOf({{0, Lines(1, 5, 5) + Lines(3, 4, 9)}});
  EXPECT_EQ(Steps(curve, 0), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(curve[2].point.loss, 3.0);
}

TEST(Curve, DrawsFromTheHighestToTheLowest) {
  const std::string drawn = DrawCurve(CurveOf({{0, Lines(1, 60, 6)}}));
  EXPECT_EQ(drawn,
            "         6 |*\n"
            "      loss |\n"
            "           |\n"
            "           |\n"
            "           | *\n"
            "           |  **\n"
            "           |    *******\n"
            "       0.1 |           *************************************************\n"
            "           +------------------------------------------------------------\n"
            "            step 1                                                    60\n");
}

TEST(Curve, DrawsOnePointAndOneLevel) {
  const std::string one = DrawCurve(CurveOf({{0, Lines(7, 7, 7)}}));
  EXPECT_EQ(std::count(one.begin(), one.end(), '\n'), 3);
  EXPECT_NE(one.find("         1 |*\n"), std::string::npos) << one;
  EXPECT_NE(one.find("step 7\n"), std::string::npos) << one;
}

TEST(Curve, SaysSinceWhenTheLossIsNoNumber) {
  std::string lines = Lines(1, 10, 5);
  lines += ProgressLine({.step = 11, .loss = NAN}) + ProgressLine({.step = 12, .loss = INFINITY});
  EXPECT_NE(DrawCurve(CurveOf({{0, lines}})).find("no finite number since step 11\n"),
            std::string::npos);
  lines += ProgressLine({.step = 13, .loss = 1});  // It came back.
  EXPECT_EQ(DrawCurve(CurveOf({{0, lines}})).find("no finite number"), std::string::npos);
}

TEST(Curve, DrawsNothingWithoutALoss) {
  EXPECT_EQ(DrawCurve({}), "");
  EXPECT_EQ(DrawCurve(CurveOf({{0, ProgressLine({.step = 1, .loss = -INFINITY})}})), "");
}

TEST(Curve, SurvivesExtremes) {
  const auto curve = CurveOf(
      {{0, ProgressLine({.step = 0, .loss = -1e308}) + ProgressLine({.step = 1, .loss = 1e308}) +
               ProgressLine({.step = UINT64_MAX - 1, .loss = 0})}});
  EXPECT_EQ(curve.size(), 3U);
  EXPECT_NE(DrawCurve(curve), "");
}

}  // namespace
}  // namespace muster
