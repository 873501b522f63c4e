// Where lines begin in a log file, and when what was written.
#include "launcher/agent/log_places_posix.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace muster {
namespace {

UniqueFd FileOf(const std::string& text) {
  UniqueFd fd(memfd_create("log", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAll(fd.get(), text.data(), text.size()).ok());
  return fd;
}

UniqueFd TimesOf(const std::vector<LogTime>& times) {
  return FileOf(
      std::string(reinterpret_cast<const char*>(times.data()), times.size() * kLogTimeBytes) +
      "cut");
}

TEST(LogPlaces, FindTheNextLine) {
  const UniqueFd fd = FileOf("ab\nc\n\n" + std::string(100'000, 'x') + "\ny");
  EXPECT_EQ(LineFrom(fd.get(), 0), 0U);
  EXPECT_EQ(LineFrom(fd.get(), 1), 3U);
  EXPECT_EQ(LineFrom(fd.get(), 3), 3U);
  EXPECT_EQ(LineFrom(fd.get(), 4), 5U);
  EXPECT_EQ(LineFrom(fd.get(), 7), 100'007U);
  EXPECT_EQ(LineFrom(fd.get(), 100'008), 100'008U);  // None begins behind it: the end.
}

TEST(LogPlaces, FindTheLastLines) {
  const std::string end = "three\nfour\n";
  const std::string text = "one\n" + std::string(150'000, 'x') + "\n" + end;
  const UniqueFd fd = FileOf(text);
  EXPECT_EQ(LastLinesBegin(fd.get(), 1), text.size() - 5);
  EXPECT_EQ(LastLinesBegin(fd.get(), 2), text.size() - end.size());
  EXPECT_EQ(LastLinesBegin(fd.get(), 3), 4U);
  EXPECT_EQ(LastLinesBegin(fd.get(), 4), 0U);
  EXPECT_EQ(LastLinesBegin(fd.get(), 99), 0U);
  EXPECT_EQ(LastLinesBegin(FileOf("a\nno end").get(), 1), 2U);
  EXPECT_EQ(LastLinesBegin(FileOf("").get(), 1), 0U);
}

TEST(LogTimeline, SaysWhatIsInForce) {
  // From 10 on nothing came at 2: the entry that follows counts.
  const std::vector<LogTime> all = {{0, 1}, {10, 2}, {10, 3}, {20, 4}, {30, 5}};
  using Times = std::vector<LogTime>;
  LogTimeline timeline(TimesOf(all));
  EXPECT_EQ(timeline.Between(0, 5), (Times{{0, 1}}));
  EXPECT_EQ(timeline.Between(5, 10), (Times{{0, 1}}));
  EXPECT_EQ(timeline.Between(10, 25), (Times{{10, 3}, {20, 4}}));
  EXPECT_EQ(timeline.Between(25, 100), (Times{{20, 4}, {30, 5}}));
  for (const auto& [begin, first] : {std::pair{0U, 0U}, {12U, 10U}, {20U, 20U}, {99U, 30U}}) {
    LogTimeline anew(TimesOf(all));  // Begins there: it has to search.
    EXPECT_EQ(anew.Between(begin, begin + 1).at(0).offset, first) << begin;
  }
  EXPECT_EQ(LogTimeline(UniqueFd()).Between(0, 9), Times{});
}

TEST(LogTimeline, FindsWhatCameSince) {
  LogTimeline timeline(TimesOf({{0, 100}, {10, 200}, {20, 300}}));
  EXPECT_EQ(timeline.FirstSince(50), 0U);
  EXPECT_EQ(timeline.FirstSince(200), 10U);
  EXPECT_EQ(timeline.FirstSince(201), 20U);
  EXPECT_EQ(timeline.FirstSince(301), UINT64_MAX);
  EXPECT_EQ(LogTimeline(UniqueFd()).FirstSince(1), 0U);
}

}  // namespace
}  // namespace muster
