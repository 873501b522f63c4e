// From what the user wrote to what the cluster is asked for.  Pure.
#pragma once

#include "launcher/cli/cluster.h"
#include "launcher/cli/job_file.h"

namespace muster {

// `program` with what the file says of workdir, environment and limits.  A relative workdir is one
// below the program's.
Program Adjusted(Program program, const JobFile& file);

// All but the key, the owner and whether it is attached.
JobRequest RequestOf(const JobFile& file, Program program);

// The file's name, else the program's, else "job".
std::string JobName(const JobFile& file);

// One sentence: how a job of this shape stands to these nodes.  For `muster plan`; the coordinator
// has the last word.
struct Fit {
  bool now = false, ever = false;
  std::string sentence;
};
Fit FitOf(const JobFile& file, const std::vector<ClusterNode>& nodes);

}  // namespace muster
