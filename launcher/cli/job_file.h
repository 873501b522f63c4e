// What a job file says (configs/job.yaml has every key), as checked values.
//
// The same struct is what `muster run` makes from its command line.  Pure values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

struct JobFile {
  std::string name;
  std::uint32_t nodes = 1;
  std::uint32_t min_nodes = 0;       // At least so many, `nodes` if they fit; 0: nodes.
  std::uint32_t ranks_per_node = 0;  // 0: every slot of a node.
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=value.
  std::string workdir;                   // Empty: the folder of the file.
  std::uint32_t time_limit_ms = 0;       // 0: none.
  std::uint32_t grace_ms = 30000;
  std::uint32_t max_restarts = 3;
  std::vector<std::string> restart_on = {"signal", "node_lost", "exit"};
  std::vector<std::int32_t> never = {2};
  CheckpointPolicy checkpoint;
  std::vector<ResourceLimit> limits;  // Beside those that the ranks would have anyway.
  LaunchOptions launch;
  bool operator==(const JobFile&) const = default;
};

// Reads the text of a job file.  kInvalid lists every mistake with file:line:column.
Result<JobFile> ParseJobFile(const std::string& file, const std::string& text);

}  // namespace muster
