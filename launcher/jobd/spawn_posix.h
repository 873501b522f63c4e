// Starts one child of the job daemon: a rank, the PMIx helper, the mover.
//
// The child has a process group of its own, default signals, no descriptor but those named here,
// stdin from /dev/null unless told otherwise, and dies with jobd (PR_SET_PDEATHSIG).  Between fork
// and exec it makes system calls only, so that it does not matter which locks jobd's other thread
// held.  The loop's thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/file_posix.h"
#include "runtime/base/orders.h"

namespace muster {

struct Spawn {
  std::vector<std::string> paths;  // Tried in turn, as execvp(3) does.
  std::vector<std::string> argv, environment;
  std::string workdir;                // Empty: jobd's.
  std::int64_t umask = -1;            // -1: jobd's.
  std::vector<ResourceLimit> limits;  // A hard limit above what this user may have is cut to it.
  int in = -1;                        // -1: /dev/null.
  bool terminal = false;   // `in` is one; the child gets a session of its own, and it to control.
  int out = -1, err = -1;  // -1: jobd's.
  int inherited = -1;      // Becomes descriptor kInheritedFd.
  std::vector<std::uint32_t> cpus;  // Runs on these only; empty: as jobd.
  std::string group;                // Is born in it (containment_posix.h).  Empty: jobd's.
  int report = -1;                  // An ExecFailure is written here if there is one.
  std::uint32_t tag = 0;            // For ExecFailure.
};

inline constexpr int kInheritedFd = 3;

enum class ExecStage : std::uint32_t { kGroup, kLimit, kWorkdir, kExec, kBind, kTerminal };

// Why a child ended before it ran anything.
struct ExecFailure {
  std::uint32_t tag = 0;
  ExecStage stage = ExecStage::kExec;
  std::int32_t error = 0;  // errno.
};

Result<pid_t> Start(const Spawn& spawn);

// This program, started anew: paths, argv, and an environment with nothing of the job's in it but
// what containment needs.
Spawn SelfSpawn(const std::vector<std::string>& arguments);

// Where execvp(3) would look for `program` when it is started in `workdir` with that environment.
std::vector<std::string> ProgramPaths(const std::string& program, const std::string& workdir,
                                      const std::vector<std::string>& environment);

// Clock ticks since boot at which the process began; 0 when it is not there.
std::uint64_t StartTicks(pid_t pid);

}  // namespace muster
