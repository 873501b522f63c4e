#include "runtime/comm/recording_observer.h"

namespace muster {
namespace {

static_assert(static_cast<int>(Collective::Kind::kRecv) == static_cast<int>(RecordedOp::kRecv));
static_assert(static_cast<int>(Collective::Kind::kBarrier) ==
              static_cast<int>(RecordedOp::kBarrier));
static_assert(static_cast<int>(DType::kF32) == kRecordedF32);
static_assert(static_cast<int>(DType::kU8) == kRecordedBytes);

}  // namespace

void RecordingObserver::Began(std::uint64_t seq, const Collective& call) {
  const Signature signature = SignatureOf(call);
  const Recorder::Record record =
      recorder_.Begin({.seq = seq,
                       .count = signature.count,
                       .root = call.IsTransfer() ? call.root : signature.root,
                       .group = group_,
                       .op = static_cast<RecordedOp>(call.kind),
                       .dtype = static_cast<std::uint8_t>(signature.dtype),
                       .reduction = static_cast<std::uint8_t>(signature.op)});
  Place& place = PlaceOf(seq, call);
  place.record.store(record, std::memory_order_relaxed);
  place.seq.store(seq, std::memory_order_release);
}

void RecordingObserver::Ended(std::uint64_t seq, const Collective& call, const Status& status) {
  const Place& place = PlaceOf(seq, call);
  if (place.seq.load(std::memory_order_acquire) != seq) return;
  recorder_.End(place.record.load(std::memory_order_relaxed), status.ok());
}

std::unique_ptr<CollectiveObserver> RecordingObserver::OfPart(std::uint64_t seq,
                                                              std::int64_t color) {
  if (!recorder_.has_room_for_group()) return nullptr;
  const std::string name = name_ + "/" + std::to_string(seq) + "." + std::to_string(color);
  return std::make_unique<RecordingObserver>(recorder_, name);
}

}  // namespace muster
