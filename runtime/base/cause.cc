#include "runtime/base/cause.h"

#include <array>
#include <cstdio>

namespace muster {
namespace {

// A fault, or SIGKILL: nothing that a peer does to a rank through a socket.  SIGABRT is not among
// them: it is how C++ and NCCL give up when a peer is gone.
bool IsHardSignal(std::int32_t number) {
  constexpr std::array<std::int32_t, 6> kHard = {4, 5, 7, 8, 9, 11};  // ILL TRAP BUS FPE KILL SEGV
  for (const std::int32_t hard : kHard) {
    if (number == hard) return true;
  }
  return false;
}

std::string Tenths(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  std::string result = text.data();
  if (result.ends_with(".0")) result.resize(result.size() - 2);
  return result;
}

}  // namespace

int Strength(const Cause& cause) {
  if (cause.consequence) return 2;
  switch (cause.kind) {
    case CauseKind::kNone:
      return 0;
    case CauseKind::kCancelled:
      return 1;  // By nobody: a daemon was told to stop, and somebody knows why.
    case CauseKind::kPeerLost:
      return 3;
    case CauseKind::kNodeLost:
      return 4;
    case CauseKind::kExit:
      return 5;
    case CauseKind::kSignal:
      return IsHardSignal(cause.code) ? kStrongest : 5;
    case CauseKind::kOutOfMemory:
      return kStrongest;
    default:
      return 6;
  }
}

bool SaysMore(const Cause& newer, const Cause& known) {
  return newer.kind == known.kind && newer.rank == known.rank && newer.node == known.node &&
         newer.wall_us == known.wall_us && newer.text.size() > known.text.size();
}

std::string MemoryText(const Cause& cause) {
  if (cause.used_bytes == 0 || cause.limit_bytes == 0) return "";
  constexpr double kMiB = 1 << 20, kGiB = 1 << 30;
  const bool large = static_cast<double>(cause.limit_bytes) >= kGiB;
  const double unit = large ? kGiB : kMiB;
  return "used " + Tenths(static_cast<double>(cause.used_bytes) / unit) + " of " +
         Tenths(static_cast<double>(cause.limit_bytes) / unit) + (large ? " GiB" : " MiB");
}

}  // namespace muster
