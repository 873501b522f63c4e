// The exit statuses of the command line (ARCHITECTURE.md has the list that scripts rely on).  Pure.
#pragma once

#include "runtime/base/result.h"

namespace muster {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUser = 2;
inline constexpr int kExitNoCoordinator = 69;
inline constexpr int kExitBug = 70;
inline constexpr int kExitInterrupted = 130;

// What a verb that failed on `code` leaves with.
constexpr int ExitStatusOf(Code code) {
  switch (code) {
    case Code::kOk:
      return kExitOk;
    case Code::kInvalid:
    case Code::kNotFound:
    case Code::kExists:
    case Code::kDenied:
    case Code::kUnimplemented:
      return kExitUser;
    case Code::kUnavailable:
    case Code::kDeadline:
      return kExitNoCoordinator;
    case Code::kInternal:
    case Code::kDataLoss:
      return kExitBug;
    case Code::kAborted:
    case Code::kExhausted:
      return kExitFailed;
  }
  return kExitBug;
}

}  // namespace muster
