// Which attached jobs are held by a `muster run`, and which were let go for too long.
//
// Never journaled: after a coordinator's death every attached job gets the time anew.  Pure; owned
// by the front.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "launcher/coordinator/audience.h"

namespace muster {

class Holds {
 public:
  explicit Holds(Duration patience) : patience_(patience) {}

  // A job to be held; from now on somebody has to.
  void Expect(JobId job, TimePoint now);
  void Hold(JobId job, ListenerId id, std::shared_ptr<Holder> holder);
  void Release(JobId job, ListenerId id, TimePoint now);
  // The job ended: its holders are told so.
  void Ended(JobId job);
  void EndAll(const Status& status);

  // Jobs that nobody held for longer than the patience, each once.
  std::vector<JobId> TakeAbandoned(TimePoint now);
  TimePoint NextDeadline() const;

 private:
  struct Held {
    std::map<ListenerId, std::shared_ptr<Holder>> holders;
    TimePoint alone_since;
    bool abandoned = false;
  };
  Duration patience_;
  std::map<JobId, Held> jobs_;
};

}  // namespace muster
