// Who is behind: compares what the ranks of a job did last, by their flight recorders.  Groups are
// known by their names: a rank is in those that it recorded.  Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/trace.h"

namespace muster {

// "compute of step 63", "all_reduce #12 of training": the last thing it began, and whether it
// ended.
std::string LastOf(const Recording& recording);

// One sentence that names who is behind, or says that nobody is.
std::string BehindSentence(const std::vector<RankTrace>& traces);

// The table of `muster trace --last`, and the sentence; each with its line's end.
std::string LastPage(const std::vector<RankTrace>& traces);
std::string LastJson(const std::vector<RankTrace>& traces);

}  // namespace muster
