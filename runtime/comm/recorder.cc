#include "runtime/comm/recorder.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>

#include "runtime/base/check.h"

namespace muster {
namespace {

template <std::size_t kCount>
std::string NameIn(const std::array<const char*, kCount>& names, std::size_t index,
                   const char* kind) {
  return index < kCount ? names[index] : std::string(kind) + " " + std::to_string(index);
}

constexpr std::array<const char*, 12> kCollectives = {
    "all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all",
    "gather",     "scatter",        "barrier",    "split",     "send",   "recv"};
constexpr std::array<const char*, 6> kSpans = {"data",    "forward",   "backward",
                                               "compute", "optimizer", "checkpoint"};
constexpr std::array<const char*, 7> kTypes = {"f32", "f64", "f16", "bf16", "i32", "i64", "u8"};
constexpr std::array<std::size_t, 7> kSizes = {4, 8, 2, 2, 4, 8, 1};
constexpr std::array<const char*, 5> kReductions = {"sum", "avg", "min", "max", "prod"};

// Independent products take no longer than one; and field by field nothing goes through memory.
std::uint32_t CheckOf(const RecordedEntry& entry) {
  const std::array<std::uint64_t, 8> words = {
      entry.record,
      entry.seq,
      entry.count,
      static_cast<std::uint64_t>(entry.created_ns),
      static_cast<std::uint64_t>(entry.started_ns),
      static_cast<std::uint64_t>(entry.completed_ns),
      static_cast<std::uint32_t>(entry.root) | std::uint64_t{entry.group} << 32 |
          static_cast<std::uint64_t>(entry.op) << 48 | std::uint64_t{entry.dtype} << 56,
      std::uint64_t{entry.reduction} | static_cast<std::uint64_t>(entry.state) << 8 |
          std::uint64_t{entry.unused} << 16};
  std::uint64_t factor = 0x9e3779b97f4a7c15U, sum = factor;
  for (const std::uint64_t word : words) {
    sum += (word ^ (word >> 29)) * factor;
    factor += 0xbf58476d1ce4e5b8U;  // Even: it stays odd.
  }
  return static_cast<std::uint32_t>(sum ^ (sum >> 32)) | 1U;  // Never that of zeros.
}

std::int64_t Nanoseconds(TimePoint at) {
  return at.time_since_epoch().count();
}

}  // namespace

std::string NameOf(RecordedOp op) {
  const auto index = static_cast<std::size_t>(op);
  const auto spans = static_cast<std::size_t>(RecordedOp::kSpans);
  if (!IsSpan(op)) return NameIn(kCollectives, index, "op");
  return index - spans < kSpans.size() ? kSpans[index - spans] : "op " + std::to_string(index);
}

std::string RecordedTypeName(std::uint8_t dtype) {
  return NameIn(kTypes, dtype, "dtype");
}

std::size_t RecordedTypeSize(std::uint8_t dtype) {
  return dtype < kSizes.size() ? kSizes[dtype] : 0;
}

std::string RecordedReductionName(std::uint8_t reduction) {
  return NameIn(kReductions, reduction, "reduction");
}

const char* NameOf(RecordedState state) {
  static constexpr std::array<const char*, 4> kNames = {"scheduled", "started", "completed",
                                                        "failed"};
  return kNames[std::min<std::size_t>(static_cast<std::size_t>(state), kNames.size() - 1)];
}

Recorder::Recorder(std::span<std::byte> memory, const RecorderFacts& facts, Clock& clock)
    : clock_(&clock) {
  CHECK(memory.size() >= RecorderBytes(1));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(RecorderHeader) == 0);
  capacity_ = (memory.size() - sizeof(RecorderHeader)) / sizeof(RecordedEntry);
  std::memset(memory.data(), 0, memory.size());
  header_ = new (memory.data()) RecorderHeader;
  entries_ = reinterpret_cast<RecordedEntry*>(memory.data() + sizeof(RecorderHeader));
  header_->version = RecorderHeader::kVersion;
  header_->entry_bytes = sizeof(RecordedEntry);
  header_->capacity = capacity_;
  header_->rank = facts.rank;
  header_->world_size = facts.world_size;
  header_->attempt = facts.attempt;
  header_->wall_ns = clock.Wall().time_since_epoch().count();
  header_->monotonic_ns = Nanoseconds(clock.Now());
  std::atomic_ref(header_->magic).store(RecorderHeader::kMagic, std::memory_order_release);
}

std::uint16_t Recorder::AddGroup(std::string_view name) {
  if (header_ == nullptr) return 0;
  if (groups_ == kRecorderGroups) return kRecorderGroups - 1;
  name.copy(header_->groups[groups_], kRecorderNameMax);
  return groups_++;
}

Recorder::Record Recorder::Begin(const RecordedEntry& what, RecordedState state) {
  if (header_ == nullptr) return 0;
  const std::atomic_ref count(header_->count);
  const Record record = count.fetch_add(1, std::memory_order_relaxed) + 1;
  RecordedEntry& entry = entries_[(record - 1) % capacity_];
  const std::int64_t now = Nanoseconds(clock_->Now());
  entry = {.record = record,
           .seq = what.seq,
           .count = what.count,
           .created_ns = now,
           .started_ns = state == RecordedState::kScheduled ? 0 : now,
           .root = what.root,
           .group = what.group,
           .op = what.op,
           .dtype = what.dtype,
           .reduction = what.reduction,
           .state = state};
  entry.check = CheckOf(entry);
  return record;
}

RecordedEntry* Recorder::Find(Record record) {
  if (record == 0) return nullptr;
  RecordedEntry* entry = &entries_[(record - 1) % capacity_];
  return entry->record == record ? entry : nullptr;
}

void Recorder::Started(Record record) {
  RecordedEntry* entry = Find(record);
  if (entry == nullptr) return;
  entry->started_ns = Nanoseconds(clock_->Now());
  entry->state = RecordedState::kStarted;
  entry->check = CheckOf(*entry);
}

void Recorder::End(Record record, bool ok) {
  RecordedEntry* entry = Find(record);
  if (entry == nullptr) return;
  entry->completed_ns = Nanoseconds(clock_->Now());
  entry->state = ok ? RecordedState::kCompleted : RecordedState::kFailed;
  entry->check = CheckOf(*entry);
}

Result<Recording> ReadRecording(std::span<const std::byte> memory) {
  if (memory.size() < sizeof(RecorderHeader)) return Status(Code::kInvalid, "too short for a ring");
  RecorderHeader header;
  std::memcpy(&header, memory.data(), sizeof header);
  if (header.magic == 0) return Status(Code::kNotFound, "nothing was recorded");
  if (header.magic != RecorderHeader::kMagic) return Status(Code::kInvalid, "not a ring");
  if (header.version != RecorderHeader::kVersion || header.entry_bytes != sizeof(RecordedEntry)) {
    return Status(Code::kInvalid, "a ring of version " + std::to_string(header.version) +
                                      "; this build reads " +
                                      std::to_string(RecorderHeader::kVersion));
  }
  Recording recording{.rank = header.rank,
                      .world_size = header.world_size,
                      .attempt = header.attempt,
                      .wall_ns = header.wall_ns,
                      .monotonic_ns = header.monotonic_ns,
                      .begun = header.count};
  for (const auto& name : header.groups) {
    const std::string text(name, std::find(name, name + kRecorderNameMax, '\0'));
    if (text.empty()) break;
    recording.groups.push_back(text);
  }
  const std::size_t here = (memory.size() - sizeof(RecorderHeader)) / sizeof(RecordedEntry);
  const std::uint64_t capacity = std::min<std::uint64_t>(header.capacity, here);
  for (std::uint64_t i = 0; i < capacity; ++i) {
    RecordedEntry entry;
    std::memcpy(&entry, memory.data() + RecorderBytes(i), sizeof entry);
    if (entry.record == 0 && entry.check == 0) continue;
    const bool whole = entry.check == CheckOf(entry) && (entry.record - 1) % header.capacity == i;
    whole ? recording.entries.push_back(entry) : void(++recording.torn);
  }
  std::sort(recording.entries.begin(), recording.entries.end(),
            [](const auto& a, const auto& b) { return a.record < b.record; });
  return recording;
}

}  // namespace muster
