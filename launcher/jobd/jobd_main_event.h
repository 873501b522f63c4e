// `muster jobd`: one job on one node, as a process of its own.
//
// A single thread around libevent's loop: it feeds the core (jobd.h) and carries out what that
// decides.  Listens on arguments.socket for its agent: frames of a 32-bit little-endian length and
// EncodeVariant(Order) down, EncodeVariant(Report) up; a status on connect and on each change; a
// new agent replaces the old one; no agent is fine.
//
// Starts a session of its own and ignores SIGHUP and SIGPIPE: it survives the agent.  It runs under
// the ids of the job's owner, in the group arguments.cgroup if there is one (the agent saw to
// both), and starts its children from /proc/self/exe.
#pragma once

#include "runtime/base/paths.h"

namespace muster {

// Returns the exit status: 0 after EndJob, 1 when it could not start (the log says why).
int JobdMain(const JobdArguments& arguments);

}  // namespace muster
