// Prints what tests/integration/lib/traces.h counts, one line each, for tests that are no C++.
//
//   machine_traces MARK      MARK: the MUSTER_TEST_MARK of the test that asks
#include <iostream>

#include "tests/integration/lib/machine_posix.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const muster::testing::Traces now = muster::testing::LookAtMachine(argv[1]);
  for (const std::string& line : WhatRemains({}, now)) std::cout << line << "\n";
  return 0;
}
