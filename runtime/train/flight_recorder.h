// A rank's flight recorder in memory of its node, which outlives the rank where a job daemon gives
// it: what `muster trace` shows.  One thread.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/comm/process_group.h"
#include "runtime/comm/recording_observer.h"
#include "runtime/train/memory.h"

namespace muster {

class FlightRecorder {
 public:
  // A rank that gets no memory records nothing.  `group`: null, or the group of all ranks, whose
  // calls are recorded until this ends; `memory` and group outlive it.
  FlightRecorder(Memory& memory, std::uint32_t local_rank, const RecorderFacts& facts,
                 ProcessGroup* group, Clock& clock);
  // No call of the group is in flight.
  ~FlightRecorder();
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  Recorder& recorder() { return *recorder_; }

 private:
  std::unique_ptr<Recorder> recorder_ = std::make_unique<Recorder>();
  std::unique_ptr<RecordingObserver> observer_;
  ProcessGroup* const group_;
};

}  // namespace muster
