// The job daemon and its helpers as a program of their own, for the tests of this folder: `jobd`
// with the arguments of JobdArguments, and what it starts from /proc/self/exe.
#include <map>
#include <string>
#include <vector>

#include "launcher/jobd/jobd_main_event.h"
#include "launcher/jobd/pmix_main_pmix.h"
#include "launcher/mover/mover_main_posix.h"

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return 2;
  if (words[0] == "pmix") return muster::PmixMain({words.begin() + 1, words.end()});
  if (words[0] == "mover") return muster::MoverMain(3);
  std::map<std::string, std::string> options;
  for (std::size_t i = 1; i + 1 < words.size(); i += 2) options[words[i]] = words[i + 1];
  return muster::JobdMain({.job = std::stoull(options["--job"]),
                           .node = options["--node"],
                           .socket = options["--socket"],
                           .status = options["--status"],
                           .logs = options["--logs"],
                           .runtime = options["--runtime"],
                           .shm = options["--shm"],
                           .cgroup = options["--cgroup"],
                           .cookie = options["--cookie"]});
}
