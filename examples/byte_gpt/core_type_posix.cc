#include "examples/byte_gpt/core_type_posix.h"

#include <unistd.h>

#include <filesystem>
#include <string>

#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"

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

}  // namespace

void EnsureBlasCoreType(char** argv) {
  constexpr const char* kName = "OPENBLAS_CORETYPE";
  const char* type = CoreType();
  if (type == nullptr || GetEnv(kName)) return;
  SetEnv(kName, type);
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error);
  execv(program.c_str(), argv);
  Log(LogLevel::kWarning, "cannot start anew with OPENBLAS_CORETYPE: training may be slow");
}

}  // namespace muster
