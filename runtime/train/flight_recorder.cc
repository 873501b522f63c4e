#include "runtime/train/flight_recorder.h"

#include "runtime/base/recorder_file.h"

namespace muster {

FlightRecorder::FlightRecorder(Memory& memory, std::uint32_t local_rank, const RecorderFacts& facts,
                               ProcessGroup* group, Clock& clock)
    : group_(group) {
  const auto ring = memory.Get(RecorderMemory(local_rank), RecorderBytes(kRecorderEntries));
  if (!ring.ok()) return;
  recorder_ = std::make_unique<Recorder>(ring->bytes, facts, clock);
  if (group_ == nullptr) return;
  observer_ = std::make_unique<RecordingObserver>(*recorder_, "world");
  group_->observe(observer_.get());
}

FlightRecorder::~FlightRecorder() {
  if (observer_ != nullptr) group_->observe(nullptr);
}

}  // namespace muster
