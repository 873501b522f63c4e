// What an agent and a job daemon say about a program that somebody runs beside a rank (`muster
// exec`), and about the input that somebody gives to rank 0.
//
// One connection a program, to the socket ExecSocket() (paths.h): a byte that carries two
// descriptors, its stdout and stderr, then frames of a 32-bit length and an EncodeWire() body.  The
// agent sends one ExecAsked; the daemon answers with ExecSaid when the program ended, or could not
// begin.  Whoever closes the connection before that ends the program.
//
// One connection for the input of an attempt: the byte carries nothing, and ExecAsked says `input`.
// The daemon's ExecSaid carries the descriptor to write to, and the daemon forgets its own.  The
// connection stays until the agent writes no more: with its end, however it came, ends the input.
//
// Asked for `recorders`, the daemon answers when they lie beside the logs.
// Pure values; any thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/orders.h"

namespace muster {

struct ExecAsked {
  AttemptNumber attempt = 0;
  std::uint32_t rank = 0;
  std::vector<std::string> argv;
  bool input = false;      // No program: what the rank reads from.
  bool recorders = false;  // No program: write down the flight recorders of the ranks here.
  template <typename A>
  void Fields(A& a) {
    a(attempt, rank, argv, input, recorders);
  }
};

struct ExecSaid {
  std::int32_t exit = 0;  // As a shell says it: 128 + N after signal N, 126 and 127.
  std::string failure;    // Why it never began; empty: it did.
  template <typename A>
  void Fields(A& a) {
    a(exit, failure);
  }
};

}  // namespace muster
