// CHECK: a broken promise of our own code ends the process, in release builds too.
//
// A crash that the keeper restarts is better than a wrong commit.  What the world or the user did
// wrong is a Status (result.h), never a CHECK.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace muster {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, what);
  std::abort();
}

}  // namespace muster

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::muster::CheckFailed(__FILE__, __LINE__, #condition))
