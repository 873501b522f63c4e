// Keeps the jobd's status file (runtime/base/status_file.h): visible at once, durable soon.
//
// A change is in place, whole, when Write returns.  The fsync is made by a short-lived child, one
// at a time: a disk that is busy with a checkpoint must not stall the keep-alives of the job.  The
// loop's thread only.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>

#include "runtime/base/status_file.h"

namespace muster {

class StatusKeeper {
 public:
  explicit StatusKeeper(std::string path) : path_(std::move(path)) {}

  void Write(const StatusFile& file);

  // A child ended: true when it was the one that synced.
  bool Reaped(pid_t pid);
  std::set<pid_t> pids() const {
    return syncing_ > 0 ? std::set<pid_t>{syncing_} : std::set<pid_t>();
  }

 private:
  void StartSync();

  const std::string path_;
  std::string last_;
  pid_t syncing_ = 0;
  bool changed_ = false;  // Since the sync began.
};

}  // namespace muster
