// A mover and nothing else, for tests:  mover_alone FD
#include <cstdlib>

#include "launcher/mover/mover_main_posix.h"

int main(int argc, char** argv) {
  return argc == 2 ? muster::MoverMain(std::atoi(argv[1])) : 2;
}
