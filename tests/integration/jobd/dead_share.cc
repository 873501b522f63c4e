// dead_share FOLDER: mounts a share that never answers over the folder, says "mounted", and
// "caught" when somebody is; aborts it when its input ends.
#include <poll.h>
#include <unistd.h>

#include <cstdio>

#include "tests/integration/jobd/dead_share_posix.h"

int main(int argc, char** argv) {
  if (argc != 2 || !muster::DeadShare::Possible()) return 77;
  muster::DeadShare share(argv[1]);
  std::puts("mounted");
  std::fflush(stdout);
  bool told = false;
  for (;;) {
    if (!told && share.Caught()) {
      std::puts("caught");
      std::fflush(stdout);
      told = true;
    }
    pollfd input{.fd = 0, .events = POLLIN};
    char byte = 0;
    if (poll(&input, 1, 5) == 1 && read(0, &byte, 1) <= 0) return 0;
  }
}
