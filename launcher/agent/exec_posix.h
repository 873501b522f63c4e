// A program beside a rank, seen from the agent: asked for at the job daemon's door (exec.h), its
// output read from pipes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "launcher/agent/exec_door_posix.h"
#include "runtime/base/exec.h"
#include "runtime/base/result.h"

namespace muster {

// What the coordinator wants to be run, or (`asked.input`) to write to.
struct ExecWish {
  std::uint64_t id = 0;
  JobId job = 0;
  ExecAsked asked;
};

// Runs it to its end; `output` may take its time, and the program waits when it does.  When `stop`
// (a descriptor) becomes readable or `output` says false, the program is ended.  Blocks; a thread
// of its own.
ExecSaid RunBesideRank(const ExecDoorPlace& door, const ExecAsked& asked, int stop,
                       const std::function<bool(bool is_stderr, std::string_view)>& output);

}  // namespace muster
