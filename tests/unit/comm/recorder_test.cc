#include "runtime/comm/recorder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

namespace muster {
namespace {

class TickingClock final : public Clock {
 public:
  TimePoint Now() override { return TimePoint(Duration(now_ += 10)); }
  WallTime Wall() override { return WallTime(Duration(5'000'000)); }

 private:
  std::int64_t now_ = 1000;
};

struct Ring {
  explicit Ring(std::uint64_t capacity) : memory(RecorderBytes(capacity) / 8) {}
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(memory)); }
  std::vector<std::uint64_t> memory;
  TickingClock clock;
};

RecordedEntry AllReduce(std::uint64_t seq) {
  return {.seq = seq, .count = 1024, .op = RecordedOp::kAllReduce, .dtype = kRecordedF32};
}

std::vector<std::uint64_t> SeqsOf(const Recording& recording) {
  std::vector<std::uint64_t> seqs;
  for (const RecordedEntry& entry : recording.entries) seqs.push_back(entry.seq);
  return seqs;
}

TEST(Recorder, KeepsWhatWasDoneAndWhen) {
  Ring ring(8);
  Recorder recorder(ring.bytes(), {.rank = 3, .world_size = 4, .attempt = 2}, ring.clock);
  ASSERT_EQ(recorder.AddGroup("world"), 0);
  ASSERT_EQ(recorder.AddGroup("gradients"), 1);
  const auto first = recorder.Begin(AllReduce(1), RecordedState::kScheduled);
  recorder.Started(first);
  recorder.End(first);
  { const RecordedSpan span(recorder, RecordedOp::kData, 7); }
  recorder.End(recorder.Begin(AllReduce(2)), false);
  recorder.Begin(AllReduce(3));

  const auto found = ReadRecording(ring.bytes());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->rank, 3);
  EXPECT_EQ(found->world_size, 4);
  EXPECT_EQ(found->attempt, 2U);
  EXPECT_EQ(found->groups, (std::vector<std::string>{"world", "gradients"}));
  EXPECT_EQ(found->begun, 4U);
  EXPECT_EQ(found->torn, 0U);
  ASSERT_EQ(SeqsOf(*found), (std::vector<std::uint64_t>{1, 7, 2, 3}));
  const RecordedEntry& done = found->entries[0];
  EXPECT_EQ(done.state, RecordedState::kCompleted);
  EXPECT_EQ(done.count, 1024U);
  EXPECT_LT(done.created_ns, done.started_ns);
  EXPECT_LT(done.started_ns, done.completed_ns);
  EXPECT_EQ(found->entries[1].op, RecordedOp::kData);
  EXPECT_EQ(found->entries[2].state, RecordedState::kFailed);
  EXPECT_EQ(found->entries[3].state, RecordedState::kStarted);
  EXPECT_EQ(found->entries[3].completed_ns, 0);
  // The pair of clocks of the start puts it on the wall's axis.
  EXPECT_EQ(found->WallOf(found->monotonic_ns), 5'000'000);
}

TEST(Recorder, LetsTheOldestGiveWay) {
  Ring ring(4);
  Recorder recorder(ring.bytes(), {}, ring.clock);
  const auto early = recorder.Begin(AllReduce(1));
  for (std::uint64_t seq = 2; seq <= 6; ++seq) recorder.End(recorder.Begin(AllReduce(seq)));
  recorder.End(early);  // Its place is another's.
  const auto found = ReadRecording(ring.bytes());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(SeqsOf(*found), (std::vector<std::uint64_t>{3, 4, 5, 6}));
  EXPECT_EQ(found->begun, 6U);
}

// Whatever part of an entry was stored when its writer died.
TEST(Recorder, TheEndOfOneThatGaveWayChangesNothing) {
  Ring ring(4);
  Recorder recorder(ring.bytes(), {}, ring.clock);
  const auto first = recorder.Begin(AllReduce(1));
  for (std::uint64_t seq = 2; seq <= 5; ++seq) recorder.Begin(AllReduce(seq));
  recorder.Started(first);
  recorder.End(first);
  const auto found = ReadRecording(ring.bytes());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(SeqsOf(*found), (std::vector<std::uint64_t>{2, 3, 4, 5}));
  for (const RecordedEntry& entry : found->entries) EXPECT_EQ(entry.completed_ns, 0);
}

TEST(Recorder, OfARingThatWasCutOffTheRestIsRead) {
  Ring ring(4);
  Recorder recorder(ring.bytes(), {}, ring.clock);
  for (std::uint64_t seq = 1; seq <= 4; ++seq) recorder.Begin(AllReduce(seq));
  const auto found = ReadRecording(ring.bytes().first(RecorderBytes(2)));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(SeqsOf(*found), (std::vector<std::uint64_t>{1, 2}));
}

TEST(Recorder, LeavesOutATornEntry) {
  Ring ring(2);
  Recorder recorder(ring.bytes(), {}, ring.clock);
  recorder.End(recorder.Begin(AllReduce(1)));
  recorder.End(recorder.Begin(AllReduce(2)));
  std::vector<std::byte> before(ring.bytes().begin(), ring.bytes().end());
  recorder.End(recorder.Begin(AllReduce(3)));  // In the place of the first.
  const std::span<std::byte> after = ring.bytes();
  std::size_t torn = 0;
  for (std::size_t stored = 4; stored < sizeof(RecordedEntry); stored += 4) {
    std::vector<std::byte> half = before;
    std::memcpy(half.data() + RecorderBytes(0), after.data() + RecorderBytes(0), stored);
    const auto found = ReadRecording(half);
    ASSERT_TRUE(found.ok());
    ASSERT_EQ(SeqsOf(*found), (std::vector<std::uint64_t>{2})) << stored;
    torn += found->torn;
  }
  EXPECT_EQ(torn, sizeof(RecordedEntry) / 4 - 1);
}

TEST(Recorder, WipesWhatAnEarlierAttemptLeft) {
  Ring ring(4);
  Recorder first(ring.bytes(), {.attempt = 0}, ring.clock);
  first.End(first.Begin(AllReduce(1)));
  Recorder second(ring.bytes(), {.attempt = 1}, ring.clock);
  const auto found = ReadRecording(ring.bytes());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->attempt, 1U);
  EXPECT_TRUE(found->entries.empty());
}

TEST(Recorder, WithoutMemoryRecordsNothing) {
  Recorder recorder;
  EXPECT_FALSE(recorder.recording());
  EXPECT_EQ(recorder.AddGroup("world"), 0);
  recorder.End(recorder.Begin(AllReduce(1)));
}

TEST(Recorder, RefusesWhatIsNoRing) {
  Ring ring(4);
  EXPECT_EQ(ReadRecording(ring.bytes()).status().code(), Code::kNotFound);
  EXPECT_EQ(ReadRecording(ring.bytes().first(100)).status().code(), Code::kInvalid);
  std::iota(ring.memory.begin(), ring.memory.end(), 1U);
  EXPECT_EQ(ReadRecording(ring.bytes()).status().code(), Code::kInvalid);
  Recorder recorder(ring.bytes(), {}, ring.clock);
  recorder.End(recorder.Begin(AllReduce(1)));
  // A copy that ends early still has what it has.
  const auto cut = ReadRecording(ring.bytes().first(RecorderBytes(1) + 10));
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->entries.size(), 1U);
  reinterpret_cast<RecorderHeader*>(ring.bytes().data())->version = 9;
  EXPECT_NE(ReadRecording(ring.bytes()).status().message().find("version 9"), std::string::npos);
}

TEST(Recorder, NamesEverything) {
  EXPECT_EQ(NameOf(RecordedOp::kAllReduce), "all_reduce");
  EXPECT_EQ(NameOf(RecordedOp::kRecv), "recv");
  EXPECT_EQ(NameOf(RecordedOp::kCheckpoint), "checkpoint");
  EXPECT_EQ(NameOf(static_cast<RecordedOp>(77)), "op 77");
  EXPECT_EQ(NameOf(static_cast<RecordedOp>(200)), "op 200");
  EXPECT_EQ(RecordedTypeName(kRecordedF32), "f32");
  EXPECT_EQ(RecordedTypeSize(3), 2U);
  EXPECT_EQ(RecordedTypeSize(99), 0U);
}

}  // namespace
}  // namespace muster
