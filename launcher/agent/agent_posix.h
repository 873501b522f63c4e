// `muster agent`: the rim of one node's agent.
//
// One thread waits for everything: the job daemons' sockets and pidfds, the keeper's pipe, signals,
// and what the session's threads queued.  It feeds the core (agent.h) and carries out what that
// decides.
//
// The agent can be killed at any moment: job daemons go on, and its next life finds them by their
// records.  At its start it also kills what carries the cookie of a job of this node that has no
// record (D14).  SIGTERM ends the agent and nothing else.  When the keeper dies, every job of the
// node is stopped with its grace, ended and swept; then the agent leaves.
#pragma once

#include <cstdint>
#include <string>

#include "launcher/agent/jobd_process_posix.h"

namespace muster {

struct AgentConfig {
  JobdHost host;
  std::string address, address_file;  // Of the coordinator; see session_grpc.h.
  bool embedded = false;              // Nodes share one host: the loopback, and one boot id.
  int keeper_fd = -1;
};

// Returns the exit status.  The caller ends the process at once: threads of gRPC still run.
int AgentMain(AgentConfig config);

}  // namespace muster
