#include "launcher/jobd/rank_meetings.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace muster {
namespace {

using std::chrono::seconds;

link::SaveBegin Part(std::uint64_t step, std::uint64_t bytes = 100) {
  return {
      .step = step,
      .bytes = bytes,
      .timeout_ms = 60000,
      .tensors = {
          {.name = "t", .dtype = "U8", .global_shape = {bytes}, .offset = {0}, .shape = {bytes}}}};
}

class RankMeetingsTest : public testing::Test {
 protected:
  struct Said {
    std::uint32_t local_rank;
    link::ToRank message;
    std::string memory;
  };
  struct Ended {
    std::vector<std::uint32_t> local_ranks;
    link::Staged staged;
    std::string error;
  };

  RankMeetingsTest()
      : meetings_(
            {.say =
                 [this](std::uint32_t local_rank, const link::ToRank& message,
                        const std::string& memory) {
                   said_.push_back({local_rank, message, memory});
                 },
             .reads = [this](const std::string& memory) { return read_.contains(memory); },
             .make =
                 [](const std::string&, std::uint64_t bytes) {
                   return bytes <= 1000 ? Status() : Status(Code::kExhausted, "too large");
                 },
             .staged =
                 [this](const auto& local_ranks, const auto& staged, const auto& error) {
                   // As the daemon does, at once.
                   if (!staged.memory.empty()) read_.insert(staged.memory);
                   ended_.push_back({local_ranks, staged, error});
                 },
             .came = [this](std::uint64_t step,
                            std::uint32_t timeout_ms) { came_.emplace_back(step, timeout_ms); },
             .note = [this](const std::string& note) { notes_.push_back(note); },
             .load_came =
                 [this](std::uint64_t number, std::uint32_t timeout_ms) {
                   load_came_.emplace_back(number, timeout_ms);
                 },
             .load = [this](const mover::LoadParts& load) { asked_.push_back(load); }}) {
    meetings_.Begin({6, 7});  // The job's ranks 6 and 7 are on this node.
  }

  template <typename T>
  T LastTo(std::uint32_t local_rank) const {
    const auto last = std::find_if(said_.rbegin(), said_.rend(),
                                   [&](const Said& said) { return said.local_rank == local_rank; });
    EXPECT_TRUE(last != said_.rend() && std::holds_alternative<T>(last->message));
    return last == said_.rend() ? T{} : std::get<T>(last->message);
  }
  void Meet(std::uint64_t step, std::uint64_t bytes = 100) {
    meetings_.On(0, Part(step, bytes), now_);
    meetings_.On(1, Part(step, bytes), now_);
  }
  void Copied(std::uint64_t step) {
    meetings_.On(0, link::SaveCopied{.step = step});
    meetings_.On(1, link::SaveCopied{.step = step});
  }

  TimePoint now_{seconds(1000)};
  std::vector<Said> said_;
  std::vector<Ended> ended_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> came_;
  std::vector<std::string> notes_;
  std::vector<mover::LoadParts> asked_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> load_came_;
  std::set<std::string> read_;  // By a save.
  RankMeetings meetings_;
};

TEST_F(RankMeetingsTest, PutsThePartsOfAllRanksIntoOneMemory) {
  link::SaveBegin first = Part(5, 8);
  first.tensors = {{.name = "a", .dtype = "F32", .global_shape = {1}, .offset = {0}, .shape = {1}}};
  first.host_state = "{\"x\":";
  first.more = true;
  meetings_.On(0, first, now_);
  first.tensors[0].name = "b";
  first.host_state = "1}";
  first.more = false;
  meetings_.On(0, first, now_);
  EXPECT_TRUE(said_.empty());
  link::SaveBegin second = Part(5, 4);
  second.tensors[0].name = "c";
  meetings_.On(1, second, now_);
  ASSERT_EQ(said_.size(), 2U);
  EXPECT_EQ(LastTo<link::SaveInto>(0).begin, 0U);
  EXPECT_EQ(LastTo<link::SaveInto>(1).begin, 8U);
  EXPECT_EQ(LastTo<link::SaveInto>(1).bytes, 12U);
  EXPECT_EQ(said_[0].memory, RankMeetings::kStages[0]);
  EXPECT_FALSE(meetings_.deadline());
  meetings_.On(1, link::SaveCopied{.step = 5});
  EXPECT_TRUE(ended_.empty());
  meetings_.On(0, link::SaveCopied{.step = 5});
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_EQ(ended_[0].local_ranks, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(ended_[0].staged.step, 5U);
  EXPECT_EQ(ended_[0].staged.memory, RankMeetings::kStages[0]);
  EXPECT_EQ(ended_[0].staged.host_state, "{\"x\":1}");
  ASSERT_EQ(ended_[0].staged.tensors.size(), 3U);
  EXPECT_EQ(ended_[0].staged.tensors[2].name, "c");
}

TEST_F(RankMeetingsTest, AThirdSaveWaitsForAMemoryAndIsGivenUpInTime) {
  for (const std::uint64_t step : {1U, 2U}) {
    Meet(step);
    Copied(step);
  }
  EXPECT_EQ(read_.size(), 2U);
  Meet(3);
  EXPECT_EQ(said_.size(), 4U);
  EXPECT_EQ(meetings_.deadline(), now_ + seconds(60));
  read_.erase(RankMeetings::kStages[1]);
  meetings_.MemoryFree();
  EXPECT_EQ(said_.back().memory, RankMeetings::kStages[1]);
  Copied(3);
  Meet(4);
  meetings_.Tick(now_ + seconds(59));
  EXPECT_EQ(ended_.size(), 3U);
  meetings_.Tick(now_ + seconds(60));
  ASSERT_EQ(ended_.size(), 4U);
  EXPECT_EQ(ended_[3].error, "both staging memories of this node are still being written");
  EXPECT_TRUE(ended_[3].staged.memory.empty());
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, ended_[3].error);
  EXPECT_TRUE(LastTo<link::SaveInto>(1).busy);
}

TEST_F(RankMeetingsTest, GivesNoMemoryAwayThatARankStillCopiesInto) {
  Meet(1);
  meetings_.On(0, link::SaveCopied{.step = 1});
  meetings_.On(0, Part(2), now_);  // It goes on; its neighbour copies.
  EXPECT_EQ(said_.size(), 2U);
  meetings_.On(1, link::SaveCopied{.step = 1, .error = "no such device"});
  meetings_.On(1, Part(2), now_);
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_EQ(ended_[0].error, "rank 7: no such device");
  EXPECT_TRUE(ended_[0].staged.memory.empty());
  EXPECT_EQ(said_.size(), 4U);
}

TEST_F(RankMeetingsTest, RanksOfTwoStepsSaveNeither) {
  meetings_.On(0, Part(5), now_);
  meetings_.On(1, Part(6), now_);
  const std::string error =
      "rank 7 saves step 6 while rank 6 saves step 5; all ranks save the same steps, in the same "
      "order, not rank 0 alone";
  EXPECT_EQ(LastTo<link::SaveInto>(0).error, error);
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, error);
  ASSERT_EQ(ended_.size(), 2U);
  EXPECT_EQ(ended_[0].staged.step, 5U);
  EXPECT_EQ(ended_[1].staged.step, 6U);
  Meet(7);
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, "");
}

TEST_F(RankMeetingsTest, NamesARankThatDoesNotCome) {
  meetings_.On(0, Part(5), now_);
  meetings_.Tick(now_ + seconds(60));
  EXPECT_EQ(LastTo<link::SaveInto>(0).error,
            "rank 7 did not save step 5 in time; all ranks save the same steps, in the same order, "
            "not rank 0 alone");
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_EQ(ended_[0].local_ranks, std::vector<std::uint32_t>{0});
  EXPECT_EQ(notes_, std::vector<std::string>{"step 5 is not saved: " + ended_[0].error});
}

TEST_F(RankMeetingsTest, NoPartOutlivesItsAttempt) {
  meetings_.On(0, Part(5, 1), now_);
  meetings_.Begin({6, 7});
  meetings_.On(1, Part(5, 2), now_);
  EXPECT_TRUE(said_.empty());
  meetings_.On(0, Part(5, 3), now_);
  EXPECT_EQ(LastTo<link::SaveInto>(1).bytes, 5U);
  meetings_.On(0, link::SaveCopied{.step = 5});
  meetings_.Begin({6, 7});
  meetings_.On(1, link::SaveCopied{.step = 5});
  EXPECT_TRUE(ended_.empty());
}

TEST_F(RankMeetingsTest, TellsRanksThatThereIsNotEnoughMemory) {
  Meet(5, 501);
  EXPECT_EQ(LastTo<link::SaveInto>(0).error, "too large");
  EXPECT_EQ(ended_.at(0).error, "too large");
}

TEST_F(RankMeetingsTest, TellsOnceThatANodeHasComeToASave) {
  Meet(5);
  Meet(6);
  EXPECT_EQ(came_, (decltype(came_){{5, 60000}, {6, 60000}}));
}

TEST_F(RankMeetingsTest, APartThatHasOtherBytesThanItSaysIsRefusedForAllAndTheNextSaveIsWhole) {
  link::SaveBegin odd = Part(5, 8);
  odd.tensors[0].shape = {9};
  const auto error = [&] { return LastTo<link::SaveInto>(0).error; };
  meetings_.On(0, odd, now_);
  EXPECT_EQ(error(),
            "rank 6: it announced 8 bytes, and its 1 tensors have 9; is its libmuster_client of "
            "another version?");
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_EQ(ended_[0].error, error());
  EXPECT_FALSE(meetings_.deadline());
  // Its neighbour comes after it.
  meetings_.On(1, Part(5), now_);
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, error());
  Meet(6);
  EXPECT_EQ(error(), "");
  Copied(6);
  odd = Part(7);
  odd.tensors[0].dtype = "F33";
  meetings_.On(1, Part(7), now_);
  meetings_.On(0, odd, now_);
  EXPECT_EQ(error(), "rank 6: tensor \"t\" has the unknown dtype \"F33\"");
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, error());
  odd = Part(8);
  odd.tensors[0].shape = {std::uint64_t{1} << 40U, std::uint64_t{1} << 40U};
  meetings_.On(0, odd, now_);
  EXPECT_EQ(error(), "rank 6: tensor \"t\" is too large");
}

// ---- loads --------------------------------------------------------------------------------------

checkpoint_words::LoadOf Commit(std::uint64_t number, std::uint64_t step) {
  return {.number = number, .found = true, .save = {.generation = 2, .step = step, .nonce = 4}};
}

link::StagedTensor Box(const std::string& name, std::uint64_t offset) {
  return {.name = name, .dtype = "U8", .global_shape = {9}, .offset = {offset}, .shape = {3}};
}

TEST_F(RankMeetingsTest, AsksOnceForWhatSeveralRanksWant) {
  link::LoadParts part{.number = 1, .timeout_ms = 1000};
  part.tensors = {Box("w", 0), Box("b", 0)};
  meetings_.On(0, part, now_);
  part = {.number = 8, .timeout_ms = 700};  // It has loaded more often.
  part.tensors = {Box("w", 3), Box("b", 0)};
  meetings_.On(1, part, now_);
  ASSERT_EQ(load_came_.size(), 1U);
  EXPECT_EQ(load_came_[0].second, 700U);
  EXPECT_TRUE(asked_.empty());
  meetings_.On(Commit(load_came_[0].first, 30));
  meetings_.On(Commit(load_came_[0].first, 31));  // Not again.
  ASSERT_EQ(asked_.size(), 1U);
  EXPECT_EQ(asked_[0].generation, 2U);
  EXPECT_EQ(asked_[0].step, 30U);
  ASSERT_EQ(asked_[0].tensors, (std::vector{Box("w", 0), Box("b", 0), Box("w", 3)}));
  meetings_.Loaded(mover::PartsLoaded{.bytes = 192,
                                      .tensors = asked_[0].tensors,
                                      .begins = {0, 64, 128},
                                      .host_state = std::string(40000, 'x')});
  std::vector<link::LoadedParts> packets;  // To the second rank.
  for (const Said& said : said_) {
    if (said.local_rank != 1) continue;
    packets.push_back(std::get<link::LoadedParts>(said.message));
    EXPECT_EQ(said.memory, packets.back().more ? "" : RankMeetings::kLoaded);
  }
  ASSERT_EQ(packets.size(), 3U);  // The text is long.
  for (const link::LoadedParts& packet : packets) {
    EXPECT_EQ(packet.number, 8U);
    EXPECT_EQ(packet.step, 30U);
  }
  EXPECT_EQ(packets[0].begins, (std::vector<std::uint64_t>{128, 64}));
  EXPECT_FALSE(packets[2].more);
  EXPECT_EQ(
      packets[0].host_state.size() + packets[1].host_state.size() + packets[2].host_state.size(),
      40000U);
}

TEST_F(RankMeetingsTest, LoadsNothingForRanksThatDisagree) {
  link::LoadParts part{.number = 1, .timeout_ms = 1000};
  for (const std::uint32_t first : {0U, 1U}) {
    said_.clear();
    part.patterns = {"*"};
    meetings_.On(first, part, now_);
    part.patterns = {"a*"};
    meetings_.On(1 - first, part, now_);
    EXPECT_TRUE(load_came_.empty());
    for (const std::uint32_t local_rank : {0U, 1U}) {
      EXPECT_NE(LastTo<link::LoadedParts>(local_rank).error.find(" load different things"),
                std::string::npos);
    }
  }
  meetings_.On(0, part, now_);
  meetings_.Tick(now_ + seconds(1));
  EXPECT_EQ(LastTo<link::LoadedParts>(0).error,
            "rank 7 did not load in time; all ranks load alike");
}

TEST_F(RankMeetingsTest, WhatTheHeadSaysOfALoadReachesAllAndAnOldAnswerNobody) {
  const link::LoadParts part{.number = 3, .timeout_ms = 1000, .patterns = {"*"}};
  const auto load = [&] {
    for (const std::uint32_t rank : {0U, 1U}) meetings_.On(rank, part, now_);
    return load_came_.back().first;
  };
  const std::uint64_t first = load();
  meetings_.Tick(now_ + seconds(60));  // The head knows who is late.
  EXPECT_TRUE(said_.empty());
  meetings_.On({.number = first, .error = "rank 0 (node n0) did not load in time"});
  const std::uint64_t second = load();
  meetings_.On(Commit(first, 30));
  EXPECT_TRUE(asked_.empty());
  meetings_.On({.number = second});
  for (const std::uint32_t rank : {0U, 1U}) {
    EXPECT_TRUE(LastTo<link::LoadedParts>(rank).none);
    EXPECT_EQ(LastTo<link::LoadedParts>(rank).number, 3U);
  }
  const std::uint64_t third = load();
  meetings_.Gone(1);
  EXPECT_EQ(LastTo<link::LoadedParts>(0).error,
            "rank 7 has ended; all ranks save and load together");
  meetings_.On(Commit(third, 30));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(RankMeetingsTest, RanksThatDoNotHaveTheSameSaveNothing) {
  link::SaveBegin one = Part(5);
  one.common = 1;
  meetings_.On(0, one, now_);
  one.common = 2;  // Another name, say.
  meetings_.On(1, one, now_);
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_NE(ended_[0].error.find("do not save the same"), std::string::npos);
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, ended_[0].error);
  Meet(6);
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, "");
}

TEST_F(RankMeetingsTest, NobodyWaitsForARankThatHasEnded) {
  meetings_.On(0, Part(5), now_);
  meetings_.Gone(1);
  EXPECT_EQ(LastTo<link::SaveInto>(0).error, "rank 7 has ended; all ranks save and load together");
  meetings_.On(0, Part(6), now_);
  EXPECT_EQ(LastTo<link::SaveInto>(0).step, 6U);
  ASSERT_EQ(ended_.size(), 2U);
  meetings_.On(0, link::LoadParts{.number = 3, .timeout_ms = 1000}, now_);
  EXPECT_NE(LastTo<link::LoadedParts>(0).error, "");
  EXPECT_TRUE(asked_.empty());
}

TEST_F(RankMeetingsTest, ARankThatEndsBeforeItHasCopiedGivesItsMemoryBack) {
  Meet(5);
  meetings_.On(0, link::SaveCopied{.step = 5});
  meetings_.Gone(1);
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_NE(ended_[0].error.find("rank 7 has ended"), std::string::npos);
  EXPECT_TRUE(ended_[0].staged.memory.empty());
}

TEST_F(RankMeetingsTest, ARankThatComesTooLateHearsOfItAndTheNextSaveIsWhole) {
  meetings_.On(0, Part(5), now_);
  meetings_.Tick(now_ + seconds(61));
  meetings_.On(1, Part(5), now_ + seconds(62));
  EXPECT_NE(LastTo<link::SaveInto>(1).error.find("rank 7 did not save step 5 in time"),
            std::string::npos);
  Meet(6);
  EXPECT_EQ(LastTo<link::SaveInto>(0).error, "");
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, "");
}

TEST_F(RankMeetingsTest, AfterALoadAStepThatWasGivenUpIsSavedAgain) {
  meetings_.On(0, Part(5), now_);
  meetings_.Tick(now_ + seconds(61));
  const link::LoadParts load{.number = 1, .timeout_ms = 1000, .patterns = {"*"}};
  for (const std::uint32_t rank : {0U, 1U}) meetings_.On(rank, load, now_);
  meetings_.On(Commit(1, 4));
  meetings_.Loaded(mover::PartsLoaded{});
  Meet(5);
  EXPECT_EQ(LastTo<link::SaveInto>(0).error, "");
  EXPECT_EQ(LastTo<link::SaveInto>(1).error, "");
}

}  // namespace
}  // namespace muster
