// A mover as a job daemon has it: a child process at the other end of a socketpair.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/base/file_posix.h"
#include "runtime/base/mover.h"

namespace muster::mover {

// Removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A memfd with these bytes.
UniqueFd MemoryOf(const std::vector<std::byte>& bytes);
std::vector<std::byte> BytesOf(int fd);

class MoverProcess {
 public:
  // `before` runs in the child before exec.
  explicit MoverProcess(const std::function<void()>& before = nullptr);
  ~MoverProcess();  // kill -9, reaped.
  MoverProcess(const MoverProcess&) = delete;
  MoverProcess& operator=(const MoverProcess&) = delete;

  void Send(const ToMover& request, int payload = -1);
  struct Answered {
    FromMover answer;
    UniqueFd payload;
  };
  // Waits.  Failed with kUnavailable when the mover is gone.
  Answered Receive();
  Answered Ask(const ToMover& request, int payload = -1);
  // Whether an answer, or the end, comes in time.
  bool Ready(int timeout_us);

  void CloseSocket() { socket_.Reset(); }
  void Kill();
  int Wait();  // The status of waitpid(2).
  pid_t pid() const { return pid_; }

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
  std::uint64_t sent_ = 0;
};

}  // namespace muster::mover
