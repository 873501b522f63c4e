#include "runtime/comm/recording_observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "runtime/comm/group_threads.h"

namespace muster {
namespace {

TEST(RecordingObserver, RecordsTheCallsOfAGroup) {
  std::vector<std::uint64_t> memory(RecorderBytes(16) / 8);
  Recorder recorder(std::as_writable_bytes(std::span(memory)), {}, RealClock());
  ThreadsRendezvous rendezvous(1);
  const auto group = MakeThreadsGroup(rendezvous, 0);
  RecordingObserver observer(recorder, "world");
  group->observe(&observer);
  std::vector<float> values(10);
  std::vector<std::int64_t> others(3);
  ASSERT_TRUE(group->all_reduce(values, ReduceOp::kMax).ok());
  ASSERT_TRUE(group->start(Collective::Broadcast(others, 0))->wait().ok());
  ASSERT_FALSE(group->broadcast(others, 7).ok());  // No such root: this call has not happened.
  ASSERT_TRUE(group->barrier().ok());

  const auto found = ReadRecording(std::as_bytes(std::span(memory)));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->groups, std::vector<std::string>{"world"});
  ASSERT_EQ(found->entries.size(), 3U);
  const RecordedEntry& reduced = found->entries[0];
  EXPECT_EQ(reduced.op, RecordedOp::kAllReduce);
  EXPECT_EQ(reduced.seq, 1U);
  EXPECT_EQ(reduced.count, 10U);
  EXPECT_EQ(RecordedTypeName(reduced.dtype), "f32");
  EXPECT_EQ(RecordedReductionName(reduced.reduction), "max");
  EXPECT_EQ(reduced.root, -1);
  const RecordedEntry& sent = found->entries[1];
  EXPECT_EQ(sent.op, RecordedOp::kBroadcast);
  EXPECT_EQ(sent.count, 3U);
  EXPECT_EQ(RecordedTypeName(sent.dtype), "i64");
  EXPECT_EQ(sent.root, 0);
  EXPECT_EQ(found->entries[2].op, RecordedOp::kBarrier);
  for (const RecordedEntry& entry : found->entries) {
    EXPECT_EQ(entry.state, RecordedState::kCompleted);
    EXPECT_LE(entry.started_ns, entry.completed_ns);
  }
}

TEST(RecordingObserver, RecordsGroupsThatAreSplitOffUnderNamesOfTheirOwn) {
  std::vector<std::uint64_t> memory(RecorderBytes(64) / 8);
  Recorder recorder(std::as_writable_bytes(std::span(memory)), {}, RealClock());
  ThreadsRendezvous rendezvous(1);
  const auto group = MakeThreadsGroup(rendezvous, 0);
  RecordingObserver observer(recorder, "world");
  group->observe(&observer);
  const auto part = group->split(3, 0);
  ASSERT_TRUE(part.ok());
  std::vector<float> values(10);
  ASSERT_TRUE((*part)->all_reduce(values, ReduceOp::kSum).ok());
  const auto smaller = (*part)->split(0, 0);
  ASSERT_TRUE(smaller.ok());
  ASSERT_TRUE((*smaller)->barrier().ok());
  // The recorder has eight places: whoever comes later is not recorded, and no other is confused.
  std::vector<std::unique_ptr<ProcessGroup>> more;
  for (std::size_t i = 0; i < kRecorderGroups; ++i) {
    auto one = group->split(0, 0);
    ASSERT_TRUE(one.ok());
    more.push_back(*std::move(one));
  }
  ASSERT_TRUE(more.back()->barrier().ok());

  const auto found = ReadRecording(std::as_bytes(std::span(memory)));
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->groups.size(), kRecorderGroups);
  EXPECT_EQ(found->groups[1], "world/1.3");
  EXPECT_EQ(found->groups[2], "world/1.3/2.0");
  const auto calls = [&](std::uint16_t number, RecordedOp op) {
    return std::count_if(found->entries.begin(), found->entries.end(),
                         [&](const RecordedEntry& e) { return e.group == number && e.op == op; });
  };
  EXPECT_EQ(calls(1, RecordedOp::kAllReduce), 1);
  EXPECT_EQ(calls(2, RecordedOp::kBarrier), 1);
  EXPECT_EQ(calls(kRecorderGroups - 1, RecordedOp::kBarrier), 0);
}

// Every name is the one that the process group itself uses.
TEST(RecordingObserver, SharesItsWordsWithTheGroup) {
  for (auto kind = Collective::Kind::kAllReduce; kind <= Collective::Kind::kRecv;
       kind = static_cast<Collective::Kind>(static_cast<int>(kind) + 1)) {
    EXPECT_EQ(NameOf(static_cast<RecordedOp>(kind)), NameOf(kind));
  }
  for (const DType dtype : kDTypes) {
    EXPECT_EQ(RecordedTypeName(static_cast<std::uint8_t>(dtype)), NameOf(dtype));
    EXPECT_EQ(RecordedTypeSize(static_cast<std::uint8_t>(dtype)), SizeOf(dtype));
  }
  for (const ReduceOp op : kReduceOps) {
    EXPECT_EQ(RecordedReductionName(static_cast<std::uint8_t>(op)), NameOf(op));
  }
}

}  // namespace
}  // namespace muster
