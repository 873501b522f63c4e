// What `muster jobd` is told on its command line, as --node NAME and so on.  Pure values.
//
// Its job comes with the first order on the socket: a jobd may be started before there is one.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/orders.h"

namespace muster {

// The agent made every folder and gave it to the owner (paths.h names them).
struct JobdArguments {
  NodeName node;
  std::string socket;  // Where to listen for the agent.
  std::string status;  // The status file of its end; while it lives: LiveStatus().
  std::string logs;    // ClusterPaths::Logs().
  std::string shm;     // ClusterPaths::DaemonShm().
  std::string cgroup;  // A cgroup2 or freezer folder made for it; empty: none.
  std::string cookie;  // MUSTER_JOB_COOKIE for the ranks.
  std::string ports;   // Where they may listen: "61000-65499".
  std::string slots;   // Of the node, in all: a number.
  bool operator==(const JobdArguments&) const = default;
};

std::vector<std::string> ToWords(const JobdArguments& arguments);

// Unknown words are skipped.
JobdArguments FromWords(const std::vector<std::string>& words);

}  // namespace muster
