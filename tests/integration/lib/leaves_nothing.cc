// leaves_nothing PROGRAM ARGUMENTS...: runs a test that is not on GoogleTest in a Scene of its own
// (clean_test.h), and fails if it left something behind.
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "tests/integration/lib/clean_test.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: leaves_nothing PROGRAM ARGUMENTS...\n");
    return 2;
  }
  muster::testing::Scene scene;
  if (chmod(scene.folder().c_str(), 0711) != 0) return 1;  // The test may become other users.
  pid_t pid = -1;
  int status = 0;
  if (posix_spawnp(&pid, argv[1], nullptr, nullptr, argv + 1, environ) != 0 ||
      waitpid(pid, &status, 0) != pid) {
    std::perror(argv[1]);
    return 1;
  }
  int exit = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  for (const std::string& sentence : scene.Leftovers()) {
    std::printf("left behind: %s\n", sentence.c_str());
    exit = 1;
  }
  if (exit != 0) scene.EndProcesses();
  const std::string error = scene.Remove();
  if (error.empty()) return exit;
  std::printf("%s\n", error.c_str());
  return 1;
}
