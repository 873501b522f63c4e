// What limits.conf and ulimit call the resources that a process may have so much of.  Pure; any
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace muster {

// RLIMIT_* of Linux on x86-64 and arm64.
inline constexpr std::array<std::pair<const char*, std::int32_t>, 16> kResources = {
    {{"cpu", 0},
     {"fsize", 1},
     {"data", 2},
     {"stack", 3},
     {"core", 4},
     {"rss", 5},
     {"nproc", 6},
     {"nofile", 7},
     {"memlock", 8},
     {"as", 9},
     {"locks", 10},
     {"sigpending", 11},
     {"msgqueue", 12},
     {"nice", 13},
     {"rtprio", 14},
     {"rttime", 15}}};

}  // namespace muster
