// Who is behind: compares what the ranks of a job did last, by their flight recorders.  Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/trace.h"

namespace muster {

// What one rank did last of a group's collectives; 0: none that is still in its ring.
struct GroupProgress {
  std::int32_t rank = 0;
  std::uint64_t started = 0, completed = 0;
};

// Of group `group`, by rank; empty when no rank called any.
std::vector<GroupProgress> ProgressOf(const std::vector<RankTrace>& traces, std::uint16_t group);

// "compute of step 63", "all_reduce #12 of training": the last thing it began, and whether it
// ended.
std::string LastOf(const Recording& recording);

// One sentence that names who is behind, or says that nobody is.
std::string BehindSentence(const std::vector<RankTrace>& traces);

// The table of `muster trace --last`, and the sentence; each with its line's end.
std::string LastPage(const std::vector<RankTrace>& traces);
std::string LastJson(const std::vector<RankTrace>& traces);

}  // namespace muster
