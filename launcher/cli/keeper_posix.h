// What restarts the parts of an embedded cluster, and ends them with itself.
//
// Each part runs in a session of its own, with MUSTER_CLUSTER_COOKIE in its environment and, as
// descriptor 3, the read end of a pipe whose only write end is here: when this process dies,
// however it dies, the parts see the end of that pipe, stop everything and leave.
//
// A part that dies is started again at once.  One that dies kQuickDeaths times in a row within
// kQuick of its start is given up: `failed` says so once, with the end of what it said.
//
// Start(), Release() and Stop() from one thread; `failed` comes from the keeper's own.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

inline constexpr int kKeeperFd = 3;

struct KeptPart {
  std::string name;               // "coordinator", "agent n0".
  std::vector<std::string> argv;  // Of /proc/self/exe, from argv[1] on.
  std::string log;                // Its stderr is appended here.
  bool disposable = false;        // Stop() kills it, once the others left.
};

struct KeeperConfig {
  std::vector<KeptPart> parts;
  std::string cookie;
  std::function<void(const Status&)> failed;
};

class Keeper {
 public:
  static constexpr int kQuickDeaths = 4;
  static constexpr std::chrono::milliseconds kQuick{1000};

  explicit Keeper(KeeperConfig config);
  // As a death: the parts see the end of the pipe, nobody waits for them.
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Starts all parts, and the thread that tends them.
  Status Start();

  // Asks all parts to leave; from here on nobody is started again.
  void Release();

  // Release(), then waits for them, for at most `grace`; then kills them.  False when
  // one had to be killed.
  bool Stop(Duration grace);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

// The last lines of a file, for people.
std::string TailOf(const std::string& file, std::size_t lines);

}  // namespace muster
