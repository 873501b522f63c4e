// The fixture of every integration test: a folder of its own, and nothing left behind at the end.
//
// What the test starts inherits MUSTER_TEST_MARK, and finds HOME, TMPDIR, XDG_RUNTIME_DIR and
// MUSTER_STATE_DIR inside the folder.  At the end no process of the test, no namespace, mount,
// cgroup, listening port, and no entry of /dev/shm or /tmp may be more than before, and the runtime
// folder must be empty.  What is on its way out has ten seconds; leftover processes are then
// killed, so that the next test starts clean.
//
// What was there before is no fault of the test, but is told: it is one of the test before it.
//
// A test that is not on GoogleTest's fixture uses Scene on its own.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/integration/lib/traces.h"

namespace muster::testing {

// The folder, the mark, and the state of the machine when it was made.
class Scene {
 public:
  Scene();
  ~Scene();  // Removes the folder, if Remove() did not.
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  const std::string& folder() const { return folder_; }  // Such as /tmp/muster-test-4711-a1b2c3
  const std::string& mark() const { return mark_; }

  // What is more than before, one sentence each; waits up to `patience_ms` for it to go away.
  std::vector<std::string> Leftovers(int patience_ms = 10'000) const;

  // Removes the folder; what went wrong, if anything did: somebody may still write there.
  std::string Remove();

  // Kills the processes that carry our mark, or name our folder.
  void EndProcesses() const;

 private:
  std::string folder_;
  std::string mark_;
  Traces before_;
};

class CleanTest : public ::testing::Test {
 protected:
  void TearDown() override;

  Scene scene_;
};

}  // namespace muster::testing
