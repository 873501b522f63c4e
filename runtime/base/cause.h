// Which of several reports names the first failure of an attempt, and which only what followed.
//
// Clocks of two nodes cannot be compared, so what a cause *is* decides: a rank that says itself
// that a peer went first gives way to any other, a rank that left with a code to a daemon that
// died, and both to a rank that a fault or the kernel ended.  Among equals the first heard of
// stays.  What our own kill cut short is no cause at all; jobd never reports it.  Pure; any thread.
#pragma once

#include <string>

#include "runtime/base/statuses.h"

namespace muster {

inline constexpr int kStrongest = 7;

// How well it explains an attempt's end: 0 (kNone) to kStrongest.
int Strength(const Cause& cause);

// The same failure, with more of its rank's words.
bool SaysMore(const Cause& newer, const Cause& known);

// "used 61 of 64 GiB", or "" when that is not known.
std::string MemoryText(const Cause& cause);

}  // namespace muster
