// What goes between callers and agents, by its kind.  Any thread.
#pragma once

#include "launcher/coordinator/exec_relay_grpc.h"
#include "launcher/coordinator/input_relay_grpc.h"
#include "launcher/coordinator/listeners_grpc.h"

namespace muster {

struct CallRelays {
  LogRelays logs;
  ExecRelays execs;
  InputRelays inputs;
};

}  // namespace muster
