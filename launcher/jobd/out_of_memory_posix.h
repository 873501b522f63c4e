// Tells a rank that the kernel's out-of-memory killer ended from one that somebody else sent
// SIGKILL: by the kernel's log where it may be read (root), else by the counters of its memory
// cgroup, else by the machine's counter.
//
// Nothing here waits; one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "runtime/base/file_posix.h"

namespace muster {

class OutOfMemoryWatch {
 public:
  // `kernel_log`: in the form of /dev/kmsg.
  explicit OutOfMemoryWatch(std::string kernel_log = "/dev/kmsg")
      : kernel_log_(std::move(kernel_log)) {}

  // From now on.  `group`: of the ranks, or empty.
  void Begin(const std::string& group);

  // Whether it ended this process, which died of SIGKILL and had that much memory at its peak.
  bool Ended(pid_t pid, std::uint64_t used_bytes);

  // The most that a process in here may have: of its memory cgroups, else of the machine.
  static std::uint64_t Limit(const std::string& group);

 private:
  bool LogTells(pid_t pid);

  const std::string kernel_log_;
  std::string group_;
  UniqueFd log_;
  std::string records_;         // Read and not yet forgotten; bounded.
  std::uint64_t of_group_ = 0;  // Accounted for.
  std::uint64_t of_machine_ = 0;
};

}  // namespace muster
