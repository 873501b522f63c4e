#include "launcher/cli/events.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace muster {
namespace {

const StoryLine kMark = {.attempt = 1,
                         .node = "n0",
                         .wall_us = 5,
                         .mark = JobMark{.job = 3, .mark = Mark::kRanksForked, .at_us = 77}};

TEST(EventLine, TellsTheStoryAndLeavesProgressOut) {
  EXPECT_EQ(EventLine(kMark), "attempt 1, n0: the ranks are forked\n");
  EXPECT_EQ(EventLine(StoryLine{.text = "placed 8 ranks on n0"}),
            "attempt 0: placed 8 ranks on n0\n");
  EXPECT_EQ(EventLine(ProgressView{.step = 4}), "");
}

TEST(EventJson, IsOneLineThatSaysWhatKindItIs) {
  const std::string line = EventJson(kMark);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto mark = nlohmann::json::parse(line)["story"];
  EXPECT_EQ(mark["mark"], "ranks_forked");
  EXPECT_EQ(mark["at_us"], 77);
  EXPECT_EQ(mark["node"], "n0");
  const auto progress = nlohmann::json::parse(EventJson(ProgressView{.step = 4, .loss = 2.5}));
  EXPECT_EQ(progress["progress"]["step"], 4);
  EXPECT_EQ(progress["progress"]["loss"], 2.5);
  const auto job = nlohmann::json::parse(EventJson(JobView{.id = 9}));
  EXPECT_EQ(job["job"]["job"], 9);
}

TEST(EventJson, BytesThatAreNotTextDoNotBreakIt) {
  const auto story = nlohmann::json::parse(EventJson(StoryLine{.text = "last words \xff"}));
  EXPECT_TRUE(story.contains("story"));
}

}  // namespace
}  // namespace muster
