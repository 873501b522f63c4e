#include <gtest/gtest.h>

#include "launcher/cli/output_lines.h"
#include "launcher/cli/show_options.h"

namespace muster {
namespace {

constexpr std::int64_t kNoonUs = 1'700'000'000'000'000;  // 2023-11-14 22:13:20 UTC.

LogPiece Piece(std::uint32_t rank, const std::string& data, bool is_stderr = false) {
  return {.rank = rank, .is_stderr = is_stderr, .data = data, .node = "n1"};
}

TEST(OutputLines, LeavesASingleRankAsItIs) {
  OutputLines lines({.prefix = Prefix::kNone});
  const std::string bytes("a\nb\0\xff", 5);
  EXPECT_EQ(lines.Take(Piece(0, bytes)), bytes);
  EXPECT_EQ(lines.FlushAll(false), "");
}

TEST(OutputLines, PutsTheRankBeforeWholeLinesOnly) {
  OutputLines lines({});
  EXPECT_EQ(lines.Take(Piece(3, "ab")), "");
  EXPECT_EQ(lines.Take(Piece(4, "x\n")), "[4] x\n");
  EXPECT_EQ(lines.Take(Piece(3, "c\n\nd")), "[3] abc\n[3] \n");
  EXPECT_EQ(lines.FlushAll(false), "[3] d\n");
  EXPECT_EQ(lines.FlushAll(false), "");
}

TEST(OutputLines, ShowsWhatATerminalGetsAsItComes) {
  OutputLines lines({.rank0_has_terminal = true});
  EXPECT_EQ(lines.Take(Piece(0, ">>> ")), ">>> ");
  EXPECT_EQ(lines.Take(Piece(1, "a\nb")), "[1] a\n");
  EXPECT_EQ(lines.Take(Piece(0, "\33[K")), "\33[K");
  LogPiece again = Piece(0, "a\n");
  again.attempt = 1;  // Has none.
  EXPECT_EQ(lines.Take(again), "[0] a\n");
}

TEST(OutputLines, KeepsTheStreamsApart) {
  OutputLines lines({});
  EXPECT_EQ(lines.Take(Piece(0, "out")), "");
  EXPECT_EQ(lines.Take(Piece(0, "err", true)), "");
  EXPECT_EQ(lines.FlushAll(true), "[0] err\n");
  EXPECT_EQ(lines.FlushAll(false), "[0] out\n");
}

TEST(OutputLines, KeepsTheAttemptsApart) {
  OutputLines lines({});
  LogPiece piece = Piece(0, "cut sh");
  EXPECT_EQ(lines.Take(piece), "");
  piece.attempt = 1;
  piece.data = "a new one\n";
  EXPECT_EQ(lines.Take(piece), "[0] cut sh\n[0] a new one\n");
}

TEST(OutputLines, KeepsEveryByteButTheNewline) {
  OutputLines lines({});
  EXPECT_EQ(lines.Take(Piece(0, std::string("a\0b\r\n", 5))), std::string("[0] a\0b\r\n", 9));
}

TEST(OutputLines, BreaksALineThatNeverEnds) {
  OutputLines lines({});
  const std::string piece(kLongestLine - 1, 'x');
  EXPECT_EQ(lines.Take(Piece(0, piece)), "");
  EXPECT_EQ(lines.Take(Piece(0, "yz")), "[0] " + piece + "y\n");
  EXPECT_EQ(lines.Take(Piece(0, "\n")), "[0] z\n");
}

TEST(OutputLines, SayWhenTheFirstByteOfALineWasWritten) {
  OutputLines lines({.prefix = Prefix::kFull, .utc_offset_s = 3600});
  LogPiece piece = Piece(5, "one\ntw");
  piece.offset = 100;
  piece.times = {{90, kNoonUs}, {104, kNoonUs + 250'999}};
  EXPECT_EQ(lines.Take(piece), "23:13:20.000 n1 5| one\n");
  piece.data = "o\nthree\n";
  piece.offset = 106;
  piece.times = {{104, kNoonUs + 250'999}, {108, kNoonUs + 1'500'000}};
  EXPECT_EQ(lines.Take(piece), "23:13:20.250 n1 5| two\n23:13:21.500 n1 5| three\n");
  EXPECT_EQ(lines.Take(Piece(5, "no time\n")), "--:--:--.--- n1 5| no time\n");
}

TEST(OutputLines, TellHowManyLinesWereSkipped) {
  OutputLines lines({.job = 7});
  EXPECT_EQ(lines.Take(Piece(3, "begun")), "");
  LogPiece skip = Piece(3, "");
  skip.skip = true;
  skip.skipped_lines = 123'000;
  EXPECT_EQ(lines.Take(skip), "");
  skip.skipped_lines = 456;
  EXPECT_EQ(lines.Take(skip), "");
  EXPECT_EQ(lines.Take(Piece(3, "new\n")),
            "[muster] 123,456 lines of rank 3 skipped here; `muster logs --rank 3 7` has them\n"
            "[3] new\n");
}

TEST(OutputLines, AreOneObjectALineAsJson) {
  OutputLines lines({.prefix = Prefix::kJson});
  LogPiece piece = Piece(5, "say \"hi\" \xc3\xa4\n\xff\xfe\n", true);
  piece.attempt = 2;
  piece.times = {{0, kNoonUs + 1}};
  EXPECT_EQ(lines.Take(piece),
            "{\"time\":\"2023-11-14T22:13:20.000001Z\",\"node\":\"n1\",\"rank\":5,\"attempt\":2,"
            "\"stream\":\"stderr\",\"text\":\"say \\\"hi\\\" \xc3\xa4\"}\n"
            "{\"time\":\"2023-11-14T22:13:20.000001Z\",\"node\":\"n1\",\"rank\":5,\"attempt\":2,"
            "\"stream\":\"stderr\",\"base64\":\"//4=\"}\n");
}

TEST(OutputLines, TellGoodUtf8FromBad) {
  // Cut short, overlong, a surrogate, beyond the last character; the rest is good.
  for (const char* bad : {"\xc3", "a\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80"}) {
    OutputLines lines({.prefix = Prefix::kJson});
    const std::string json = lines.Take(Piece(0, std::string(bad) + "\n"));
    EXPECT_NE(json.find("base64"), std::string::npos) << json;
  }
  for (const char* good :
       {"", "a", "\xc2\x80", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"}) {
    OutputLines lines({.prefix = Prefix::kJson});
    const std::string json = lines.Take(Piece(0, std::string(good) + "\n"));
    EXPECT_NE(json.find("text"), std::string::npos) << json;
  }
}

TEST(ShowOptions, TakesSetsOfRanks) {
  EXPECT_EQ(*ParseRanks("0,3-5"), (std::vector<std::uint32_t>{0, 3, 4, 5}));
  EXPECT_EQ(*ParseRanks("7"), (std::vector<std::uint32_t>{7}));
  for (const char* bad :
       {"", ",", "1,", "x", "3-", "-3", "5-3", "1-2-3", "0-4294967296", "0-4294967295", "1 2"}) {
    EXPECT_FALSE(ParseRanks(bad).ok()) << bad;
  }
}

TEST(ShowOptions, ChooseThePrefixByWhoReads) {
  const auto prefix = [](Prefix asked, std::size_t ranks, bool terminal) {
    return FormatOf({.prefix = asked}, 1, ranks, terminal, 0).prefix;
  };
  EXPECT_EQ(prefix(Prefix::kAuto, 1, true), Prefix::kNone);
  EXPECT_EQ(prefix(Prefix::kAuto, 4, true), Prefix::kFull);
  EXPECT_EQ(prefix(Prefix::kAuto, 4, false), Prefix::kRank);
  EXPECT_EQ(prefix(Prefix::kAuto, 0, false), Prefix::kRank);
  EXPECT_EQ(prefix(Prefix::kFull, 1, false), Prefix::kFull);
  EXPECT_EQ(RequestOf(ShowOptions{}, 1, true).selection.behind_bytes, kBehindBytes);
  EXPECT_EQ(RequestOf(ShowOptions{}, 1, false).selection.behind_bytes, 0U);
}

}  // namespace
}  // namespace muster
