// The meetings of a node's ranks (rank_meetings.h) with what they need of the world: the links, the
// job's memory, a timer.
//
// The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launcher/jobd/link_services_event.h"
#include "launcher/jobd/rank_meetings.h"
#include "runtime/base/statuses.h"

namespace muster {

class MeetingPlace {
 public:
  struct Callbacks {
    std::function<bool(const std::string& memory)> reads;
    std::function<void(const std::vector<std::uint32_t>& local_ranks, const link::Staged&,
                       const std::string& why_not)>
        staged;
    std::function<void(std::uint64_t step, std::uint32_t timeout_ms)> came;
    std::function<void(std::uint64_t number, std::uint32_t timeout_ms)> load_came;
    std::function<void(const mover::LoadParts&)> load;
  };

  MeetingPlace(event_base* base, LinkServices& services, const Callbacks& callbacks);
  ~MeetingPlace();
  MeetingPlace(const MeetingPlace&) = delete;
  MeetingPlace& operator=(const MeetingPlace&) = delete;

  void Begin(const StartAttempt& order);
  void End();
  void Hear(std::uint32_t local_rank, const link::ToJobd& message);
  void Hear(const checkpoint_words::LoadOf& of);
  void Loaded(const Result<mover::PartsLoaded>& loaded, UniqueFd memory = UniqueFd());
  void MemoryFree();
  void Gone(std::uint32_t local_rank);
  bool all_gone() const { return meetings_.all_gone(); }

 private:
  static void OnDeadline(evutil_socket_t, short, void* self);
  void Say(std::uint32_t local_rank, const link::ToRank& message, const std::string& memory);
  Status Make(const std::string& memory, std::uint64_t bytes);
  void ArmDeadline();

  LinkServices& services_;
  RankMeetings meetings_;
  std::map<std::string, std::shared_ptr<UniqueFd>> memories_;  // To be handed out.
  event* const deadline_;
};

}  // namespace muster
