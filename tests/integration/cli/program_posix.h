// Runs the real `muster` (or any program) for a test: as a given user, with its output in memory.
//
// One thread.  Every wait has a deadline, after which the test fails with what was seen so far.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/file_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {

inline constexpr std::chrono::seconds kPatience(60);

struct StartOptions {
  uid_t uid = 0;                         // Taken by the child, when we are root.
  std::vector<std::string> environment;  // NAME=value, beside our own; "NAME" removes one.
  std::string folder;                    // Where it starts; empty: here.
};

class Program {
 public:
  // `path` is opened by us, so the user need not be able to reach it.
  Program(const std::string& path, const std::vector<std::string>& arguments,
          const StartOptions& options);
  ~Program();  // Kills it, if it still runs.
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number) const;
  void CloseOutput();  // As a reader that goes away.

  // Reads until stdout holds `text`.  False at its end or the deadline.
  bool AwaitOutput(const std::string& text);

  // Reads both to their ends and reaps it: the exit status, 128+N after signal N, -1 at the
  // deadline.
  int Wait();

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  bool ReadSome(std::chrono::steady_clock::time_point deadline);

  pid_t pid_ = -1;
  UniqueFd pidfd_, out_fd_, err_fd_;
  std::string out_, err_;
};

// The processes of this test that were started as `muster VERB ...`; a spare job daemon is none.
std::vector<pid_t> PartsNamed(const std::string& verb, const Scene& scene);

// The first such process that is not `other`, once there is one.
std::optional<pid_t> AwaitPart(const std::string& verb, const Scene& scene, pid_t other = 0);

}  // namespace muster::testing
