// The fixture of the tests that drive the real `muster`: once as root, once as somebody else.
//
//   run_test MUSTER [UID]
//
// With a UID (and as root) everything is started as that user, who owns the test's folder.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "tests/integration/cli/program_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {

struct Command {
  std::string muster;
  uid_t uid = geteuid();  // Whose the muster is that a test runs.
};
Command& TheCommand();

class CliTest : public CleanTest {
 protected:
  CliTest();

  // `muster ARGUMENTS...`, started.
  std::unique_ptr<Program> Start(const std::vector<std::string>& arguments,
                                 const std::vector<std::string>& environment = {});

  // The same to its end.
  struct Outcome {
    int exit = -1;
    std::string out, err;
  };
  Outcome Run(const std::vector<std::string>& arguments,
              const std::vector<std::string>& environment = {});
  // `muster run OPTIONS -- sh -c SCRIPT`.
  Outcome RunScript(const std::vector<std::string>& options, const std::string& script);
  std::unique_ptr<Program> StartScript(const std::vector<std::string>& options,
                                       const std::string& script);

  // A file in the test's folder, of its user.
  std::string Write(const std::string& name, const std::string& text, mode_t mode = 0644);
  std::string Path(const std::string& name) const { return scene_.folder() + "/" + name; }
};

// Sorted lines.
std::vector<std::string> Lines(const std::string& text);

}  // namespace muster::testing
