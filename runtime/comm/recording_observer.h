// Puts the calls of a process group into the flight recorder.
//
// Takes no lock and allocates nothing.  A call that ends on another thread than it began is found
// by its number; of more than kInFlight at once the older ones stay as begun.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/comm/process_group.h"
#include "runtime/comm/recorder.h"

namespace muster {

class RecordingObserver final : public CollectiveObserver {
 public:
  // `group`: its name in the recording.  The recorder outlives the observer.
  RecordingObserver(Recorder& recorder, std::string_view group)
      : recorder_(recorder), name_(group), group_(recorder.AddGroup(group)) {}

  void Began(std::uint64_t seq, const Collective& call) override;
  void Ended(std::uint64_t seq, const Collective& call, const Status& status) override;
  // "world/3.1": color 1 of call 3.  Null when the recorder has no place for one more.
  std::unique_ptr<CollectiveObserver> OfPart(std::uint64_t seq, std::int64_t color) override;

 private:
  static constexpr std::size_t kInFlight = 1024;
  struct Place {
    std::atomic<std::uint64_t> seq{0};
    std::atomic<Recorder::Record> record{0};
  };
  // Collectives, and sends and recvs, are counted apart.
  Place& PlaceOf(std::uint64_t seq, const Collective& call) {
    return places_[(call.IsTransfer() ? kInFlight : 0) + seq % kInFlight];
  }

  Recorder& recorder_;
  const std::string name_;
  const std::uint16_t group_;
  std::array<Place, 2 * kInFlight> places_;
};

}  // namespace muster
