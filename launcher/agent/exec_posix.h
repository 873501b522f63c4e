// A program beside a rank, seen from the agent: asked for at the job daemon's door (exec.h), its
// output read from pipes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "runtime/base/exec.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/result.h"

namespace muster {

// What the coordinator wants to be run.
struct ExecWish {
  std::uint64_t id = 0;
  JobId job = 0;
  ExecAsked asked;
};

struct ExecDoorPlace {
  std::string socket;
  std::uint32_t uid = 0;  // Whose the job daemon is.
};

// Tells a thread that waits in poll(2) to stop.  Any thread.
class StopFlag {
 public:
  StopFlag();
  void Set() const;
  int fd() const { return fd_.get(); }  // Readable once it is set.

 private:
  UniqueFd fd_;
};

// Runs it to its end; `output` may take its time, and the program waits when it does.  When `stop`
// (a descriptor) becomes readable or `output` says false, the program is ended.  Blocks; a thread
// of its own.
ExecSaid RunBesideRank(const ExecDoorPlace& door, const ExecAsked& asked, int stop,
                       const std::function<bool(bool is_stderr, std::string_view)>& output);

}  // namespace muster
