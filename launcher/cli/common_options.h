// What every verb takes.
#pragma once

#include <string>

namespace muster {

// Every verb that talks to a cluster.
struct Common {
  std::string cluster;  // A state folder or a cluster's name; empty: look for one.
  bool json = false;
};

}  // namespace muster
