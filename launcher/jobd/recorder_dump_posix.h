// Writes the ranks' flight recorders beside their logs, whole or not at all.
//
// On a thread of its own, since a disk may be slow and the loop has a fence to keep.  The rings are
// read as soon as the thread gets to them, before the next attempt begins to write in them; one
// that came too late says of which attempt it is.  The destructor writes what waits.
#pragma once

#include <condition_variable>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/file_posix.h"
#include "runtime/base/mutex.h"

namespace muster {

class RecorderDump {
 public:
  struct Ring {
    UniqueFd memory;
    std::size_t bytes = 0;
    std::string path;
  };

  RecorderDump();
  ~RecorderDump();
  RecorderDump(const RecorderDump&) = delete;
  RecorderDump& operator=(const RecorderDump&) = delete;

  // The number of this dump, from 1.
  std::uint64_t Write(std::vector<Ring> rings);

  // Readable when a dump was finished since the last finished().
  int fd() const { return news_.get(); }
  // All dumps up to this number.
  std::uint64_t finished();

 private:
  void Run(const std::stop_token& stop);

  const UniqueFd news_;
  Mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::vector<Ring>> waiting_ GUARDED_BY(mutex_);
  std::uint64_t asked_ GUARDED_BY(mutex_) = 0;
  std::uint64_t finished_ GUARDED_BY(mutex_) = 0;
  std::jthread thread_;  // From the first dump on.
};

}  // namespace muster
