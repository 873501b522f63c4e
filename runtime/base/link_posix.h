// A rank's end of the link to its job daemon (link.h).
//
// The descriptor is made close-on-exec, and a forked child that still has this object is silent:
// the daemon hears of one process only.  Any thread: a call waits for that of another.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/link.h"
#include "runtime/base/mutex.h"
#include "runtime/base/rank_posix.h"
#include "runtime/base/result.h"

namespace muster {

class RankLink {
 public:
  // Says hello.  kNotFound when the launcher gave no link.
  static Result<std::unique_ptr<RankLink>> Open(const RankInfo& info);

  // Never blocks: a report that does not fit is dropped.
  void Report(const link::Progress& progress);
  // The last message.  Never blocks.
  void Bye(int exit_code);

  struct Memory {
    UniqueFd fd;
    std::uint64_t bytes = 0;
    bool busy = false;
  };
  Result<Memory> GetMemory(const std::string& name, std::uint64_t bytes, Duration timeout);

  // The keys of the attempt.  kDeadline: nobody has set it in time.
  Status KvSet(const std::string& key, const std::string& value);
  Result<std::string> KvGet(const std::string& key, Duration timeout);

  Status Stage(const link::Staged& staged);  // Cut into packets as needed.

  struct Loaded {
    link::Loaded what;  // With all tensors.
    UniqueFd fd;        // Valid when found.
  };
  Result<Loaded> Load(Duration timeout);

  // What the newest checkpoint holds: nullopt, or its manifest.
  struct Manifest {
    std::uint64_t bytes = 0;
    UniqueFd fd;
  };
  Result<std::optional<Manifest>> OpenCheckpoint(Duration timeout);
  Status ReadBlocks(const link::ReadBlocks& request, Duration timeout);

  // Takes in what has arrived, waiting up to `timeout` for a first message.
  Status Poll(Duration timeout);
  // What Poll and the others took in.
  bool stop_requested() const {
    MutexLock lock(mutex_);
    return stop_requested_;
  }
  std::vector<link::Saved> TakeSaved() {
    MutexLock lock(mutex_);
    return std::exchange(saved_, {});
  }

 private:
  explicit RankLink(int fd) : fd_(fd) {}

  struct Packet {
    std::optional<link::ToRank> message;  // nullopt: of a type that is not known.
    UniqueFd fd;
  };
  bool Forked() const;
  Status Send(const link::ToJobd& message, bool wait);
  Result<std::optional<Packet>> Receive(Duration timeout);  // nullopt: nothing came in time.
  void Keep(link::ToRank message);
  // Answers of type T; everything else that comes meanwhile is kept.
  template <typename T>
  Result<std::pair<T, UniqueFd>> Await(TimePoint deadline, const char* what);

  UniqueFd fd_;
  pid_t owner_ = 0;
  mutable Mutex mutex_;  // Of what follows, and of who reads the socket.
  std::uint64_t seq_ = 0;
  bool stop_requested_ = false;
  std::vector<link::Saved> saved_;
};

}  // namespace muster
