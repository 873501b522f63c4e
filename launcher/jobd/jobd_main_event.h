// `muster jobd`: one job on one node, as a process of its own.
//
// A single thread around libevent's loop: it feeds the core (jobd.h) and carries out what that
// decides.  Its arguments are those of runtime/base/jobd_arguments.h.  Listens on arguments.socket
// for its agent: frames of a 32-bit little-endian length and EncodeVariant(Order) down,
// EncodeVariant(Report) up; a status on connect and on each change; a new agent replaces the old
// one; no agent is fine.
//
// Its job is that of its first StartAttempt.  Until that came it is a spare, says nothing, and ends
// with the connection of the agent that started it.
//
// Starts a session of its own and ignores SIGHUP and SIGPIPE: it survives the agent.  It runs under
// the ids of the job's owner, in the group arguments.cgroup if there is one (the agent saw to
// both), and starts its children from /proc/self/exe.
#pragma once

#include <string>
#include <vector>

namespace muster {

// Returns the exit status: 0 after EndJob, 1 when it could not start (the log says
// why), 2 when the words are not those of an agent.
int JobdMain(const std::vector<std::string>& words);

}  // namespace muster
