// Finds silent singletons: ranks that started MPI and never met their PMIx server.
//
// Such a rank believes that it is alone in the world, and ends well having computed nonsense.  The
// sign is in /proc/PID/maps: libmpi and the plug-ins that MPI_Init loads.  A program that is only
// linked with libmpi does not have them, and is left alone.  Looks often at first and then ever
// less: a rank costs a read of its maps.  The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "runtime/base/clock.h"

namespace muster {

class MpiWatch {
 public:
  // A rank has been in MPI for kGrace without its server.
  using Alone = std::function<void(std::uint32_t local_rank)>;

  MpiWatch(event_base* base, Alone alone);
  ~MpiWatch();
  MpiWatch(const MpiWatch&) = delete;
  MpiWatch& operator=(const MpiWatch&) = delete;

  void Begin(const std::map<std::uint32_t, pid_t>& ranks);
  void Connected(std::uint32_t local_rank) { ranks_.erase(local_rank); }
  // True when it was seen in MPI and never met its server.
  bool Exited(std::uint32_t local_rank);
  void End();

 private:
  struct Rank {
    pid_t pid = 0;
    std::optional<TimePoint> in_mpi;  // First seen there.
  };
  static void OnLook(evutil_socket_t, short, void* self);
  void Look();

  const Alone alone_;
  std::map<std::uint32_t, Rank> ranks_;  // That did not meet their server yet.
  Duration interval_{};
  event* const look_;
};

}  // namespace muster
