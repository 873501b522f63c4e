// What a coordinator is told when it starts: the cluster file and a few words of its command line.
#pragma once

#include <string>
#include <vector>

#include "launcher/coordinator/facts.h"
#include "launcher/coordinator/share_limits.h"

namespace muster {

struct CoordinatorConfig {
  std::string cluster = "muster";
  std::string listen = "127.0.0.1:0";  // HOST:PORT; 0: the last one if free, else the kernel's.
  std::string state_dir;               // STATE of paths.h; ca/ below it has the certificates.

  // With incarnation 0.  Empty fields are what the agent says.  An empty list: every node with a
  // certificate of this cluster may join.
  std::vector<NodeRegistered> nodes;

  std::vector<ShareLimit> shares;

  bool allow_root = false;                              // Jobs of uid 0.
  Duration lease = std::chrono::milliseconds(2500);     // Silent for longer, a node is lost.
  Duration heartbeat = std::chrono::milliseconds(500);  // How often an agent is to be heard.
  Duration fence = std::chrono::milliseconds(2500);     // D13.
  Duration fence_margin = std::chrono::milliseconds(500);
  Duration hold = std::chrono::seconds(5);  // An attached job that nobody holds is given up after.
  std::size_t queue = 4096;                 // Requests that wait for the loop; more are refused.

  // A pipe of the keeper, or -1.  When its other end closes the keeper is dead: every job is given
  // up, and the coordinator ends when they have ended, or their grace and a little more is over.
  int keeper_fd = -1;
};

}  // namespace muster
