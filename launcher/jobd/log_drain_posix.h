// Carries what the ranks write from their pipes into the log files, on a thread of its own.
//
// Promises:
//   - no rank is ever stopped by its log: what a full or failing disk does not take is dropped,
//     counted, and told in the file where it is missing, once the disk takes it again;
//   - each file is byte for byte what was written, in order; beside it lies when (log_times.h);
//   - a settlement that was begun is done when all that was written before is in the files: a disk
//     that hangs holds up the pipes and this thread, never jobd's loop.
// All calls from the loop's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/inbox_posix.h"

namespace muster {

struct LogTarget {
  std::string path, times_path;  // Below the same folder.
  std::string name;              // For people: "rank 3's stderr".
  bool keep_end = false;         // For EndOf().
};

inline constexpr std::size_t kLogEndMost = 8 << 10;

class LogDrain {
 public:
  LogDrain();
  // Writes what is in the pipes, and closes them.
  ~LogDrain();
  LogDrain(const LogDrain&) = delete;
  LogDrain& operator=(const LogDrain&) = delete;

  // Opens the file and a pipe of that size that leads into it; the writing end is the caller's.  A
  // disk without room is no failure.
  Result<UniqueFd> Add(const LogTarget& target, int pipe_bytes);
  // The same, from a descriptor that never blocks, such as a terminal's.
  Status AddFrom(const LogTarget& target, UniqueFd source);
  // False: it was not done in time.
  bool Settle(Duration patience) { return Settled(BeginSettle(), patience); }
  // Settles, and closes all pipes and files.
  bool Forget(Duration patience) { return Settled(BeginForget(), patience); }

  // The same for who cannot wait, but can look again: what to ask Settled() about.
  std::uint64_t BeginSettle();
  std::uint64_t BeginForget();
  // Whether all that was begun until then is done, after this time at most.
  bool Settled(std::uint64_t begun, Duration patience);

  // What came last for this file, at most kLogEndMost bytes, until Forget(); nothing when the file
  // has it all.
  std::optional<std::string> EndOf(const std::string& path);

  // What people should know: the logs have gaps, or are whole again.
  Inbox<std::string>& news();

 private:
  class Pump;
  struct Shared;
  void Start();

  const std::shared_ptr<Shared> shared_;
  std::thread thread_;  // From the first Add() on.
};

}  // namespace muster
