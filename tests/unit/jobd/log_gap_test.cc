#include "launcher/jobd/log_gap.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

constexpr char kWhy[] = "No space left on device";

// The file after it took `had`, lost `lost`, and got room again.
std::string Mended(const std::string& had, const std::string& lost) {
  LogGap gap(kWhy);
  gap.Lose(lost, WallTime(), /*in_line=*/!had.empty() && had.back() != '\n');
  return had + gap.Bridge(had.empty() ? '\n' : had.back(), WallTime());
}

std::string Mark(const std::string& count) {
  return "[muster] " + count +
         " could not be written here between 1970-01-01 00:00:00 UTC and 1970-01-01 00:00:00 UTC: "
         "No space left on device\n";
}

TEST(LogGap, CountsEachLineOfWhichAPartIsLost) {
  EXPECT_EQ(Mended("one\n", "two\nthree\n"), "one\n" + Mark("2 lines"));
  EXPECT_EQ(Mended("one\nt", "wo\nthree\n"), "one\nt\n" + Mark("2 lines"));
  EXPECT_EQ(Mended("one\n", "two\nthr"), "one\n" + Mark("2 lines"));
  EXPECT_EQ(Mended("", "\n"), Mark("1 line"));
  EXPECT_EQ(Mended("one\n", "\n"), "one\n" + Mark("1 line"));
}

TEST(LogGap, ALineThatLostItsEndOnlyIsNotLost) {
  EXPECT_EQ(Mended("one", "\ntwo\n"), "one\n" + Mark("1 line"));
  EXPECT_EQ(Mended("one", "\ntw"), "one\n" + Mark("1 line"));
  EXPECT_EQ(Mended("one", "\n\n"), "one\n" + Mark("1 line"));
}

TEST(LogGap, AnEndOfLineThatIsAllThatIsLostIsGivenBack) {
  EXPECT_EQ(Mended("one", "\n"), "one\n");
}

TEST(LogGap, NothingLostIsNoGap) {
  const LogGap gap(kWhy);
  EXPECT_FALSE(gap.open());
  EXPECT_EQ(gap.Bridge('x', WallTime()), "");
}

TEST(LogGap, GoesOnOverSeveralPieces) {
  LogGap gap(kWhy);
  gap.Lose("\nt", WallTime(), /*in_line=*/true);
  EXPECT_TRUE(gap.mid_line());
  EXPECT_EQ(gap.lines(), 1U);
  gap.Lose("wo", WallTime());
  gap.Lose("\n", WallTime());
  EXPECT_FALSE(gap.mid_line());
  EXPECT_EQ(gap.Bridge('e', WallTime()), "\n" + Mark("1 line"));
}

}  // namespace
}  // namespace muster
