// What the flight recorders of a job's ranks say, in the formats that others read.  Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launcher/cli/cluster.h"
#include "runtime/comm/recorder.h"

namespace muster {

struct RankTrace {
  NodeName node;
  Recording recording;
};

// The pieces of recorder files as they come, in any order of files; what comes twice is taken once
// (the nodes of an embedded cluster share a folder).
class TraceFiles {
 public:
  void Take(const LogPiece& piece);
  // By rank, and only what is of `attempt`.  `note`: one line about each file that cannot be used.
  std::vector<RankTrace> Read(std::string* note) const;

 private:
  struct File {
    AttemptNumber attempt = 0;
    NodeName node;
    std::string bytes;
  };
  std::map<std::uint32_t, File> files_;
};

// The Trace Event Format, for Perfetto and chrome://tracing: a process for each node, a thread for
// each rank and one more where its calls overlap, all on one axis.
std::string ChromeTrace(const std::vector<RankTrace>& traces, JobId job);

// PyTorch's flight recorder: the collectives of one rank of `all`, which tell who is in its groups.
std::string FlightTrace(const RankTrace& trace, const std::vector<RankTrace>& all);

// What an entry is about: "all_reduce", "compute".
inline std::string NameOf(const RecordedEntry& entry) {
  return NameOf(entry.op);
}
std::uint64_t BytesOf(const RecordedEntry& entry);
std::string GroupName(const Recording& recording, std::uint16_t group);

}  // namespace muster
