#include "launcher/cli/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "launcher/cli/behind.h"

namespace muster {
namespace {

using nlohmann::json;

constexpr std::int64_t kSecond = 1'000'000'000;

struct Call {
  RecordedOp op = RecordedOp::kAllReduce;
  std::uint64_t seq = 0;
  std::int64_t begin_us = 0, end_us = 0;  // 0: not ended.
  std::uint64_t count = 1000;
};

// Each rank's own clock began at another time; `at` is when it was 0, on the wall.
RankTrace TraceOf(std::int32_t rank, const NodeName& node, std::int64_t at,
                  const std::vector<Call>& calls) {
  RankTrace trace{.node = node,
                  .recording = {.rank = rank,
                                .world_size = 2,
                                .wall_ns = at + 5 * kSecond,
                                .monotonic_ns = 5 * kSecond,
                                .groups = {"world", "training"}}};
  for (const Call& call : calls) {
    trace.recording.entries.push_back(
        {.record = trace.recording.entries.size() + 1,
         .seq = call.seq,
         .count = IsSpan(call.op) ? 0 : call.count,
         .created_ns = call.begin_us * 1000,
         .started_ns = call.begin_us * 1000,
         .completed_ns = call.end_us * 1000,
         .group = 1,
         .op = call.op,
         .dtype = kRecordedF32,
         .state = call.end_us == 0 ? RecordedState::kStarted : RecordedState::kCompleted});
  }
  return trace;
}

std::vector<json> EventsOf(const std::string& text, const std::string& phase) {
  std::vector<json> events;
  const json trace = json::parse(text);
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("ph") == phase) events.push_back(event);
  }
  return events;
}

TEST(ChromeTrace, PutsRanksOfSeveralNodesOnOneAxis) {
  // The second node's clock began 3 s later, so its numbers are that much smaller.
  const auto text =
      ChromeTrace({TraceOf(0, "n0", 100 * kSecond,
                           {{RecordedOp::kCompute, 7, 10'000'000, 10'000'100},
                            {.seq = 1, .begin_us = 10'000'100, .end_us = 10'000'300}}),
                   TraceOf(1, "n1", 103 * kSecond,
                           {{RecordedOp::kCompute, 7, 7'000'050, 7'000'200},
                            {.seq = 1, .begin_us = 7'000'200, .end_us = 7'000'300}})},
                  4);
  const auto events = EventsOf(text, "X");
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0].at("ts"), 0.0);
  EXPECT_EQ(events[0].at("dur"), 100.0);
  EXPECT_EQ(events[0].at("cat"), "compute");
  EXPECT_EQ(events[0].at("args").at("step"), 7);
  EXPECT_EQ(events[2].at("ts"), 50.0);
  EXPECT_EQ(events[3].at("ts"), 200.0);
  EXPECT_NE(events[0].at("pid"), events[2].at("pid"));
  EXPECT_NE(events[0].at("tid"), events[2].at("tid"));
  EXPECT_EQ(events[1].at("tid"), events[0].at("tid"));
  const json& reduce = events[1];
  EXPECT_EQ(reduce.at("name"), "all_reduce");
  EXPECT_EQ(reduce.at("cat"), "communication");
  EXPECT_EQ(reduce.at("args").at("bytes"), 4000);
  EXPECT_EQ(reduce.at("args").at("seq"), 1);
  EXPECT_EQ(reduce.at("args").at("group"), "training");
  EXPECT_DOUBLE_EQ(reduce.at("args").at("algbw_GBps"), 0.02);
  std::vector<std::string> names;
  for (const json& event : EventsOf(text, "M")) names.push_back(event.at("args").at("name"));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"node n0", "node n1", "rank 0", "rank 1"}));
}

TEST(ChromeTrace, DrawsWhatOverlapsOnAThreadOfItsOwn) {
  const auto events = EventsOf(ChromeTrace({TraceOf(0, "n0", 0,
                                                    {{RecordedOp::kSend, 1, 10, 30},
                                                     {RecordedOp::kRecv, 2, 15, 40},
                                                     {RecordedOp::kData, 3, 16, 20},
                                                     {RecordedOp::kSend, 4, 40, 50}})},
                                           1),
                               "X");
  ASSERT_EQ(events.size(), 4U);
  EXPECT_NE(events[0].at("tid"), events[1].at("tid"));
  EXPECT_EQ(events[0].at("tid"), events[2].at("tid"));  // Inside it.
  EXPECT_EQ(events[0].at("tid"), events[3].at("tid"));  // Behind it.
}

TEST(ChromeTrace, WhatNeverEndedGoesOnToTheEnd) {
  const auto events =
      EventsOf(ChromeTrace({TraceOf(0, "n0", 0, {{.seq = 1, .begin_us = 10, .end_us = 0}}),
                            TraceOf(1, "n0", 0, {{RecordedOp::kData, 1, 10, 90}})},
                           1),
               "X");
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].at("dur"), 80.0);
  EXPECT_EQ(events[0].at("args").at("state"), "started, not completed when this was recorded");
  EXPECT_FALSE(events[0].at("args").contains("algbw_GBps"));
}

TEST(ChromeTrace, OfNothingIsStillATrace) {
  EXPECT_TRUE(json::parse(ChromeTrace({}, 1)).at("traceEvents").empty());
  EXPECT_TRUE(EventsOf(ChromeTrace({TraceOf(0, "n\xff\"0", 0, {})}, 1), "X").empty());
}

TEST(FlightTrace, HasTheFieldsOfPyTorchs) {
  const RankTrace trace = TraceOf(1, "n1", 100 * kSecond,
                                  {{RecordedOp::kCompute, 7, 1, 2},
                                   {RecordedOp::kAllGather, 1, 10, 30, 8},
                                   {RecordedOp::kBarrier, 2, 40, 50, 0},
                                   {.seq = 3, .begin_us = 60, .end_us = 0}});
  const json dump = json::parse(FlightTrace(trace, {trace}));
  EXPECT_EQ(dump.at("version"), "2.10");
  EXPECT_EQ(dump.at("pg_config").at("1").at("desc"), "training");
  EXPECT_EQ(dump.at("pg_config").at("1").at("ranks"), "[0, 1]");
  EXPECT_EQ(dump.at("pg_status").at("1").at("last_started_collective"), 3);
  EXPECT_EQ(dump.at("pg_status").at("1").at("last_completed_collective"), 2);
  const json& entries = dump.at("entries");
  ASSERT_EQ(entries.size(), 3U);  // Collectives only: its analyzer knows nothing else.
  const json& gather = entries[0];
  EXPECT_EQ(gather.at("profiling_name"), "nccl:all_gather");
  EXPECT_EQ(gather.at("process_group"), json::array({"1", "training"}));
  EXPECT_EQ(gather.at("collective_seq_id"), 1);
  EXPECT_EQ(gather.at("input_sizes"), json::parse("[[8]]"));
  EXPECT_EQ(gather.at("output_sizes"), json::parse("[[16]]"));
  EXPECT_EQ(gather.at("input_dtypes"), json::parse(R"(["Float"])"));
  EXPECT_EQ(gather.at("time_created_ns"), 100 * kSecond + 10'000);
  EXPECT_EQ(gather.at("state"), "completed");
  EXPECT_EQ(entries[1].at("profiling_name"), "nccl:all_reduce_barrier");
  EXPECT_EQ(entries[2].at("state"), "started");
  EXPECT_TRUE(entries[2].at("time_discovered_completed_ns").is_null());
}

class NoClock final : public Clock {
 public:
  TimePoint Now() override { return TimePoint(Duration(1)); }
  WallTime Wall() override { return WallTime(Duration(1)); }
};

std::string RingOf(std::int32_t rank, std::uint32_t attempt) {
  std::vector<std::uint64_t> memory(RecorderBytes(4) / 8);
  NoClock clock;
  Recorder recorder(std::as_writable_bytes(std::span(memory)), {.rank = rank, .attempt = attempt},
                    clock);
  recorder.End(recorder.Begin({.seq = 1, .op = RecordedOp::kAllReduce}));
  return {reinterpret_cast<const char*>(memory.data()), memory.size() * 8};
}

TEST(TraceFiles, TakesEachPieceOnce) {
  TraceFiles files;
  const std::string bytes = RingOf(1, 2);
  const auto piece = [&](std::size_t begin, std::size_t end) {
    return LogPiece{.attempt = 2,
                    .rank = 1,
                    .offset = begin,
                    .data = bytes.substr(begin, end - begin),
                    .node = "n0"};
  };
  files.Take(piece(0, 100));
  files.Take(piece(0, 100));  // The other node of an embedded cluster.
  files.Take(piece(100, bytes.size()));
  files.Take(piece(100, bytes.size()));
  std::string note;
  const auto traces = files.Read(&note);
  ASSERT_EQ(traces.size(), 1U) << note;
  EXPECT_EQ(traces[0].node, "n0");
  EXPECT_EQ(traces[0].recording.entries.size(), 1U);
  EXPECT_EQ(note, "");
}

TEST(TraceFiles, SaysWhatIsLeftOut) {
  TraceFiles files;
  files.Take({.attempt = 3, .rank = 0, .data = RingOf(0, 2)});  // Of an earlier attempt.
  files.Take({.attempt = 3, .rank = 4, .data = "short"});
  std::string note;
  EXPECT_TRUE(files.Read(&note).empty());
  EXPECT_EQ(note,
            "rank 0 is left out: it recorded nothing in attempt 3\n"
            "rank 4 is left out: too short for a ring\n");
}

TEST(FlightTrace, KnowsWhoIsInAGroupThatWasSplitOff) {
  RankTrace odd = TraceOf(3, "n1", 0, {{RecordedOp::kAllGather, 1, 10, 30, 8}});
  RankTrace even = odd;
  RankTrace other = odd;
  even.recording.rank = 2;
  other.recording.rank = 1;
  odd.recording.groups = other.recording.groups = {"world", "world/1.1"};
  even.recording.groups = {"world", "world/1.0"};
  for (RankTrace* trace : {&odd, &even, &other}) trace->recording.world_size = 4;
  const json dump = json::parse(FlightTrace(odd, {other, even, odd}));
  EXPECT_EQ(dump.at("pg_config").at("0").at("ranks"), "[0, 1, 2, 3]");
  EXPECT_EQ(dump.at("pg_config").at("1").at("ranks"), "[1, 3]");
  EXPECT_EQ(dump.at("entries")[0].at("output_sizes"), json::parse("[[16]]"));
}

// ---- who is behind
// --------------------------------------------------------------------------------

std::vector<Call> Steps(std::uint64_t calls) {
  std::vector<Call> all;
  for (std::uint64_t seq = 1; seq <= calls; ++seq) {
    all.push_back({.seq = seq, .begin_us = 10, .end_us = 20});
  }
  return all;
}

std::vector<RankTrace> Ranks(const std::vector<std::vector<Call>>& calls) {
  std::vector<RankTrace> traces;
  for (const auto& of_rank : calls) {
    traces.push_back(TraceOf(static_cast<std::int32_t>(traces.size()), "n0", 0, of_rank));
  }
  return traces;
}

TEST(Behind, NamesTheRankThatNeverEntered) {
  std::vector<Call> ahead = Steps(127), late = Steps(127);
  ahead.push_back({.seq = 128, .begin_us = 30});
  late.push_back({RecordedOp::kData, 63, 25});
  EXPECT_EQ(BehindSentence(Ranks({ahead, late, ahead})),
            "rank 1 never entered all_reduce #128 of training; it was last in data of step 63 "
            "(not ended)");
  EXPECT_EQ(BehindSentence(Ranks({ahead, late, late})),
            "ranks 1, 2 never entered all_reduce #128 of training; rank 1 was last in data of "
            "step 63 (not ended)");
}

TEST(Behind, NamesTheRankThatNeverLeft) {
  std::vector<Call> inside = Steps(4);
  inside.push_back({.seq = 5, .begin_us = 30});
  EXPECT_EQ(BehindSentence(Ranks({Steps(5), inside})),
            "rank 1 entered all_reduce #5 of training and never left it, the others did");
  EXPECT_EQ(BehindSentence(Ranks({inside, inside})),
            "every rank entered all_reduce #5 of training, and none has left it");
}

TEST(Behind, NamesRanksThatDisagree) {
  std::vector<Call> other = Steps(4);
  other.back().op = RecordedOp::kBroadcast;
  EXPECT_EQ(BehindSentence(Ranks({Steps(4), other, Steps(4)})),
            "the ranks disagree on call #4 of training: ranks 0, 2: all_reduce f32[1000]; rank 1: "
            "broadcast f32[1000]");
}

// Ranks 0 and 1 are one half of the world, 2 and 3 the other: each numbers its groups by itself.
TEST(Behind, KnowsGroupsByTheirNames) {
  const auto in_half = [](const std::string& half, std::uint64_t calls) {
    std::vector<Call> all = Steps(calls);
    RankTrace trace = TraceOf(0, "n0", 0, all);
    trace.recording.groups = {"world", half};
    return trace;
  };
  std::vector<RankTrace> traces = {in_half("world/1.0", 3), in_half("world/1.0", 3),
                                   in_half("world/1.1", 7), in_half("world/1.1", 6)};
  for (std::size_t r = 0; r < traces.size(); ++r) {
    traces[r].recording.rank = static_cast<std::int32_t>(r);
  }
  EXPECT_EQ(BehindSentence(traces),
            "rank 3 never entered all_reduce #7 of world/1.1; it was last in all_reduce #6 of "
            "world/1.1");
  const json page = json::parse(LastJson(traces));
  ASSERT_EQ(page.at("groups").size(), 2U);
  EXPECT_EQ(page.at("groups")[0].at("ranks").size(), 2U);
  EXPECT_EQ(page.at("groups")[1].at("group"), "world/1.1");
  EXPECT_EQ(page.at("groups")[1].at("ranks")[0].at("rank"), 2);
}

TEST(Behind, SaysWhenNobodyIs) {
  const std::string nobody = "no rank is behind: all completed the same collectives";
  EXPECT_EQ(BehindSentence(Ranks({Steps(3), Steps(3)})), nobody);
  EXPECT_EQ(BehindSentence(Ranks({Steps(3)})), nobody);
  EXPECT_EQ(BehindSentence({}), nobody);
}

TEST(Behind, PrintsATable) {
  std::vector<Call> late = Steps(2);
  late.push_back({RecordedOp::kCompute, 2, 25});
  const auto ranks = Ranks({Steps(3), late});
  EXPECT_EQ(LastPage(ranks),
            "GROUP training\n"
            "RANK   STARTED  COMPLETED  LAST IN\n"
            "0      #3       #3         all_reduce #3 of training\n"
            "1      #2       #2         compute of step 2 (not ended)\n"
            "rank 1 never entered all_reduce #3 of training; it was last in compute of step 2 (not "
            "ended)\n");
  const json page = json::parse(LastJson(ranks));
  EXPECT_EQ(page.at("groups")[0].at("ranks")[1].at("started"), 2);
  EXPECT_EQ(page.at("sentence"), BehindSentence(ranks));
}

}  // namespace
}  // namespace muster
