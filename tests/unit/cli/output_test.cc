#include <gtest/gtest.h>

#include "launcher/cli/output_lines.h"

namespace muster {
namespace {

TEST(OutputLines, LeavesASingleRankAsItIs) {
  OutputLines lines(false);
  const std::string bytes("a\nb\0\xff", 5);
  EXPECT_EQ(lines.Take(0, false, bytes), bytes);
  EXPECT_EQ(lines.FlushAll(false), "");
}

TEST(OutputLines, PutsTheRankBeforeWholeLinesOnly) {
  OutputLines lines(true);
  EXPECT_EQ(lines.Take(3, false, "ab"), "");
  EXPECT_EQ(lines.Take(4, false, "x\n"), "[4] x\n");
  EXPECT_EQ(lines.Take(3, false, "c\n\nd"), "[3] abc\n[3] \n");
  EXPECT_EQ(lines.Flush(3, false), "[3] d\n");
  EXPECT_EQ(lines.Flush(3, false), "");
}

TEST(OutputLines, KeepsTheStreamsApart) {
  OutputLines lines(true);
  EXPECT_EQ(lines.Take(0, false, "out"), "");
  EXPECT_EQ(lines.Take(0, true, "err"), "");
  EXPECT_EQ(lines.FlushAll(true), "[0] err\n");
  EXPECT_EQ(lines.FlushAll(false), "[0] out\n");
}

TEST(OutputLines, KeepsEveryByteButTheNewline) {
  OutputLines lines(true);
  EXPECT_EQ(lines.Take(0, false, std::string("a\0b\r\n", 5)), std::string("[0] a\0b\r\n", 9));
}

TEST(OutputLines, BreaksALineThatNeverEnds) {
  OutputLines lines(true);
  const std::string piece(kLongestLine - 1, 'x');
  EXPECT_EQ(lines.Take(0, false, piece), "");
  EXPECT_EQ(lines.Take(0, false, "yz"), "[0] " + piece + "y\n");
  EXPECT_EQ(lines.Take(0, false, "\n"), "[0] z\n");
}

}  // namespace
}  // namespace muster
