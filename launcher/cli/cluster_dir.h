// What is written down about a cluster of this host, in STATE/cluster.json.
//
//   STATE/cluster.json   this file; STATE/cluster.yaml is what the coordinator reads
//   STATE/lock           held shared by the keeper and its children; the last one out cleans up
//   STATE/*.log          what coordinator and agents said
// and the folders of runtime/base/paths.h.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/paths.h"
#include "runtime/base/result.h"

namespace muster {

struct ClusterDescription {
  std::string name;
  std::string short_id;     // Eight hexadecimal digits.
  std::string runtime;      // ClusterPaths::runtime.
  bool is_private = false;  // Of one `muster run`; its state goes with it.
  std::uint32_t nodes = 0, slots = 0;
  std::int64_t keeper_pid = 0;
  std::uint64_t keeper_start = 0;  // Of that pid's process, in clock ticks since boot.
  std::int64_t started_us = 0;     // Wall time.
  bool operator==(const ClusterDescription&) const = default;
};

std::string ToJson(const ClusterDescription& cluster);
Result<ClusterDescription> ParseClusterDescription(const std::string& json);

inline std::string DescriptionFile(const std::string& state) {
  return state + "/cluster.json";
}
inline std::string ClusterYaml(const std::string& state) {
  return state + "/cluster.yaml";
}
// What the coordinator writes when it listens.
inline std::string AddressFile(const std::string& state) {
  return ClusterPaths{.state = state}.CoordinatorAddress();
}
inline std::string LockFile(const std::string& state) {
  return state + "/lock";
}

ClusterPaths PathsOf(const std::string& state, const ClusterDescription& cluster);

// The names of an embedded cluster's nodes: n0, n1, ...
NodeName EmbeddedNode(std::uint32_t index);

// The text of its cluster.yaml.
std::string EmbeddedYaml(const ClusterDescription& cluster);

// kInvalid when a job daemon's socket would have a path that the kernel cannot take.
Status CheckSocketPaths(const ClusterPaths& paths, const NodeName& longest_node);

}  // namespace muster
