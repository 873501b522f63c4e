// Which kernels OpenBLAS uses is decided when it starts, before main: Debian 12's takes newer Xeons
// for a Prescott and is then five times slower, and equal bits need one family everywhere.  So
// OPENBLAS_CORETYPE is set for this processor before that, unless it is set.
//
// This works since OpenBLAS is linked from its archive: its constructor has no priority, and so it
// comes after this one.  As a shared library it would start before everything here.
#include "runtime/base/env_posix.h"

namespace muster {
namespace {

// The fast family that the processor can run; nullptr: leave the choice to the library.
const char* CoreType() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  // Zen 4 runs the 256-bit kernels faster.
  if (avx512 && __builtin_cpu_is("intel") != 0) return "SKYLAKEX";
  if (avx2) return "HASWELL";
#endif
  return nullptr;
}

[[gnu::constructor(101)]] void ChooseCoreType() {
  constexpr const char* kName = "OPENBLAS_CORETYPE";
  const char* type = CoreType();
  if (type != nullptr && !GetEnv(kName)) SetEnv(kName, type);
}

}  // namespace
}  // namespace muster
