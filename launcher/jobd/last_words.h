// What the end of a rank's stderr says: what to show of it, and whether a peer went first.
//
// A rank whose peer died hears of it as a closed socket, and says so before it ends; such words are
// known here, as Python, torch (gloo, NCCL, its store), Open MPI, MPICH, UCX, Horovod, JAX and libc
// put them.  A rank that says them is not the first failure as long as anyone else may be.
// Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace muster {

// How much of a file's end these functions want to see at most.
inline constexpr std::size_t kLastWordsMost = 64 << 10;

// To be shown: the last Python traceback to the end, with those that it says led to it; else the
// last lines.  `whole`: `tail` begins where the file does, not in the middle of a line.
std::string LastWords(std::string_view tail, bool whole);

// Whether they blame a peer.  Of a traceback only its exceptions count, not the source lines.
bool BlamesPeer(std::string_view last_words);

}  // namespace muster
