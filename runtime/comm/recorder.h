// The flight recorder: a ring in memory that holds what one rank did last, one entry a collective
// or a span of other work.
//
// Written by its rank only, read by anyone at any time, also after the rank died in the middle of
// an entry: each entry carries a check of itself, so that a torn one is recognised and left out, in
// the memory as in any copy of it.  Recording takes no lock, allocates nothing and never fails;
// once the ring is full the oldest entry gives way.  Several threads of the rank may record; each
// entry is begun by one and ended by one, later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

// What an entry is about.  The first are collectives (in the order of Collective::Kind); from
// kSpans on it is work of the rank alone.
enum class RecordedOp : std::uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kReduce,
  kAllToAll,
  kGather,
  kScatter,
  kBarrier,
  kSplit,
  kSend,
  kRecv,
  kSpans = 128,
  kData = kSpans,
  kForward,
  kBackward,
  kCompute,  // Forward and backward, where they cannot be told apart.
  kOptimizer,
  kCheckpoint,
};
std::string NameOf(RecordedOp op);  // "all_reduce"; "op 77" of a newer writer.
inline bool IsSpan(RecordedOp op) {
  return op >= RecordedOp::kSpans;
}
inline bool IsTransfer(RecordedOp op) {
  return op == RecordedOp::kSend || op == RecordedOp::kRecv;
}

// In the order of DType and ReduceOp.
inline constexpr std::uint8_t kRecordedF32 = 0, kRecordedBytes = 6;
std::string RecordedTypeName(std::uint8_t dtype);  // "f32".
std::size_t RecordedTypeSize(std::uint8_t dtype);  // 0: unknown.
std::string RecordedReductionName(std::uint8_t reduction);

enum class RecordedState : std::uint8_t { kScheduled, kStarted, kCompleted, kFailed };
const char* NameOf(RecordedState state);

// Groups of a ring, by number; the first is that of all ranks.
inline constexpr std::size_t kRecorderGroups = 8;
inline constexpr std::size_t kRecorderNameMax = 23;

struct RecorderHeader {
  static constexpr std::uint64_t kMagic = 0x31474e5254534d;  // "MSTRNG1".
  static constexpr std::uint32_t kVersion = 1;
  std::uint64_t magic = 0;  // Set last.
  std::uint32_t version = 0;
  std::uint32_t entry_bytes = 0;
  std::uint64_t capacity = 0;
  std::int32_t rank = 0, world_size = 0;
  std::uint32_t attempt = 0;
  std::uint32_t unused = 0;
  // The same moment on both clocks: puts ranks of several nodes on one axis.
  std::int64_t wall_ns = 0, monotonic_ns = 0;
  std::uint64_t count = 0;  // Entries begun so far; atomic.
  char groups[kRecorderGroups][kRecorderNameMax + 1] = {};
};
static_assert(sizeof(RecorderHeader) == 256 && std::is_trivially_copyable_v<RecorderHeader>);

// Times are in ns of the rank's monotonic clock; 0: not yet.
struct RecordedEntry {
  std::uint64_t record = 0;  // From 1; 0: nothing is here.
  std::uint64_t seq = 0;     // The call's number in its group, from 1; of a span the step.
  std::uint64_t count = 0;   // Elements.
  std::int64_t created_ns = 0, started_ns = 0, completed_ns = 0;
  std::int32_t root = -1;  // Of a send or recv: the other rank.
  std::uint16_t group = 0;
  RecordedOp op = RecordedOp::kBarrier;
  std::uint8_t dtype = kRecordedBytes;
  std::uint8_t reduction = 0;
  RecordedState state = RecordedState::kScheduled;
  std::uint16_t unused = 0;
  std::uint32_t check = 0;  // Of all before it.
  bool operator==(const RecordedEntry&) const = default;
};
static_assert(sizeof(RecordedEntry) == 64 && std::is_trivially_copyable_v<RecordedEntry>);

inline constexpr std::size_t RecorderBytes(std::uint64_t capacity) {
  return sizeof(RecorderHeader) + capacity * sizeof(RecordedEntry);
}
// One MiB: hundreds of steps.
inline constexpr std::uint64_t kRecorderEntries = 16384 - 4;

struct RecorderFacts {
  std::int32_t rank = 0, world_size = 1;
  std::uint32_t attempt = 0;
};

class Recorder {
 public:
  // What Begin gives and End takes.
  using Record = std::uint64_t;

  // Records nothing.
  Recorder() = default;
  ~Recorder() = default;
  // `memory`: of at least one entry, aligned to 8 bytes, outlives the recorder; what an earlier
  // attempt left in it is wiped.
  Recorder(std::span<std::byte> memory, const RecorderFacts& facts, Clock& clock);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Before anything is recorded of it.  The number of the group; beyond the last one: the last.
  std::uint16_t AddGroup(std::string_view name);
  bool has_room_for_group() const { return groups_ < kRecorderGroups; }

  // `what`: record, times and state are not read.  Any thread.
  Record Begin(const RecordedEntry& what, RecordedState state = RecordedState::kStarted);
  void Started(Record record);
  void End(Record record, bool ok = true);

  bool recording() const { return header_ != nullptr; }

 private:
  // Null: it has given way to a newer one.
  RecordedEntry* Find(Record record);

  RecorderHeader* header_ = nullptr;
  RecordedEntry* entries_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::uint16_t groups_ = 0;
  Clock* clock_ = nullptr;
};

// A span of work, from here to the end of the scope.
class RecordedSpan {
 public:
  RecordedSpan(Recorder& recorder, RecordedOp op, std::uint64_t step)
      : recorder_(recorder), record_(recorder.Begin({.seq = step, .op = op})) {}
  ~RecordedSpan() { recorder_.End(record_); }
  RecordedSpan(const RecordedSpan&) = delete;
  RecordedSpan& operator=(const RecordedSpan&) = delete;

 private:
  Recorder& recorder_;
  const Recorder::Record record_;
};

// A ring as it was found.
struct Recording {
  std::int32_t rank = 0, world_size = 1;
  std::uint32_t attempt = 0;
  std::int64_t wall_ns = 0, monotonic_ns = 0;
  std::uint64_t begun = 0;             // Entries that were begun, also those that gave way.
  std::uint64_t torn = 0;              // Left out.
  std::vector<std::string> groups;     // Their names, by number.
  std::vector<RecordedEntry> entries;  // The oldest first.

  // A time of an entry in ns since 1970.
  std::int64_t WallOf(std::int64_t entry_ns) const { return wall_ns + (entry_ns - monotonic_ns); }
};

// `memory`: the ring, or a copy of its bytes, even while it is written.  kNotFound: nobody recorded
// here; kInvalid: it is no ring, or of a version that this build does not know.
Result<Recording> ReadRecording(std::span<const std::byte> memory);

}  // namespace muster
