#include "tests/integration/train/program_posix.h"

#include <fcntl.h>
#include <stdlib.h>  // NOLINT: putenv is POSIX's.
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/check.h"

namespace muster::testing {

ProgramEnd RunProgram(const std::vector<std::string>& words,
                      const std::vector<std::string>& environment) {
  std::vector<std::string> copies = words;
  std::vector<char*> pointers;
  for (std::string& word : copies) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::vector<std::string> settings = environment;
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    for (std::string& setting : settings) putenv(setting.data());
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  close(ends[1]);
  ProgramEnd end;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    end.output.append(buffer, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

}  // namespace muster::testing
