// A mount of a share whose server takes a request and never answers: whoever made it sits in a
// system call that kill -9 does not end (state D), until the share is aborted.
//
// A process of its own serves it, and dies with this one.  Needs root and /dev/fuse; mount it where
// only this process and those that it starts see it.
#pragma once

#include <sys/types.h>

#include <string>

#include "runtime/base/file_posix.h"

namespace muster {

class DeadShare {
 public:
  static bool Possible();
  // Over this folder; a look at anything in it is a request without an answer.
  explicit DeadShare(const std::string& folder);
  ~DeadShare() { Abort(); }
  DeadShare(const DeadShare&) = delete;
  DeadShare& operator=(const DeadShare&) = delete;

  // Somebody has been caught.  Waits for nobody.
  bool Caught();
  // What was there before is there again; who is caught stays so.
  void Unmount();
  // Who is caught gets an error.
  void Abort();

 private:
  const std::string folder_;
  bool mounted_ = true;
  pid_t server_ = 0;
  UniqueFd told_;
};

// The third word of /proc/PID/stat; ' ' when there is no such process.
char StateOf(pid_t pid);

// This process and those that it starts have mounts of their own from now on.
bool MountsOfOnesOwn();

}  // namespace muster
