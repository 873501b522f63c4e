// How many ranks on how many nodes, for command lines that name a total or hosts, as mpirun's do.
//
// Every node of a job has the same number of ranks.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/cli/cluster.h"
#include "runtime/base/result.h"

namespace muster {

struct ShapeWish {
  std::uint32_t ranks = 0;           // In all; 0: not said.
  std::uint32_t ranks_per_node = 0;  // 0: not said.
  bool hosts_named = false;
  std::vector<std::uint32_t> hosts;  // The slots of each host that was named; 0: not said.
  std::string hostfile;              // Names hosts too, once somebody has read it.
  bool spread = false;               // Over as many nodes as there are, not over as few.
  bool operator==(const ShapeWish&) const = default;
};

struct Shape {
  std::uint32_t nodes = 1;
  std::uint32_t ranks_per_node = 0;  // 0: every slot of a node.
  bool operator==(const Shape&) const = default;
};

// "h1:4,h2:2,h1": the slots of each host; "h1", "h1:1" and a second "h1" are one slot each.
Result<std::vector<std::uint32_t>> ParseHostList(const std::string& text);

// The lines of a hostfile: "HOST", "HOST slots=4", "HOST:4"; # begins a comment.
Result<std::vector<std::uint32_t>> ParseHostfile(const std::string& text);

// `nodes`: of the cluster, empty for a private one, which is made to fit.  A named host need not be
// one of them: only their number and slots count.  kInvalid says what would be possible.
Result<Shape> ShapeOf(const ShapeWish& wish, const std::vector<ClusterNode>& nodes);

// The ranks that have one of these local ranks, where the ranks of a node are known.
std::vector<std::uint32_t> RanksWith(const std::vector<std::uint32_t>& local_ranks,
                                     const Shape& shape);

}  // namespace muster
