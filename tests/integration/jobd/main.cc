// The job daemon and its helpers as a program of their own, for the tests of this folder: `jobd`
// with the arguments of JobdArguments, and what it starts from /proc/self/exe.
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
  return muster::JobdMain({words.begin() + 1, words.end()});
}
