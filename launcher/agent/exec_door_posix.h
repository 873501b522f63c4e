// A job daemon's door (exec.h), from the agent's side.  Any thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/exec.h"
#include "runtime/base/file_posix.h"

namespace muster {

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

// Connects; kDenied when somebody else sits there.
Result<UniqueFd> KnockAt(const ExecDoorPlace& door);

// `outputs`: two, or none.
Status AskAt(int daemon, const ExecAsked& asked, const std::vector<int>& outputs);

}  // namespace muster
