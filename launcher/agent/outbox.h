// What an agent has to say to the coordinator and could not yet: bounded, and nothing that counts
// is lost.
//
// A status or a progress replaces the one of the same job that waits; marks and notes wait in
// order, the newest kLines of them.  Pure; not for two threads at once.
#pragma once

#include <deque>
#include <map>
#include <optional>

#include "runtime/base/statuses.h"

namespace muster {

class Outbox {
 public:
  static constexpr std::size_t kLines = 1024;

  void Put(const Report& report);
  // The stream broke: statuses and progress go, since the next registration says more; marks and
  // notes stay.
  void Broke();
  std::optional<Report> Take();
  // What Take() gave did not arrive.
  void Return(Report report);

 private:
  std::map<JobId, JobdStatus> statuses_;
  std::map<JobId, JobProgress> progress_;
  std::deque<Report> lines_;
};

}  // namespace muster
