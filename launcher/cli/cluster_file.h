// What a cluster file says (configs/cluster.yaml has every key), as checked values.
//
// Read by the coordinator only; an embedded cluster makes the same struct from its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace muster {

struct NodeEntry {
  std::string name;
  std::string address;  // HOST, where the agent's node is reached; empty: the agent says.
  std::uint32_t slots = 1;
  std::string block, leaf, spine;
  bool operator==(const NodeEntry&) const = default;
};

// What all jobs together may write to a share.
struct ShareEntry {
  std::string path;
  std::uint64_t bytes_per_s = 0;
  bool operator==(const ShareEntry&) const = default;
};

struct ClusterFile {
  std::string name = "muster";
  std::string listen = "0.0.0.0:7077";  // Port 0: the kernel chooses.
  std::string state_dir;                // Empty: as ARCHITECTURE.md says of State.
  std::vector<NodeEntry> nodes;
  std::vector<ShareEntry> shares;
  bool operator==(const ClusterFile&) const = default;
};

// Reads the text of a cluster file.  kInvalid lists every mistake with file:line:column.
Result<ClusterFile> ParseClusterFile(const std::string& file, const std::string& text);

// "host:port" or "[v6]:port", the port 0..65535.
bool IsHostPort(const std::string& text);

}  // namespace muster
