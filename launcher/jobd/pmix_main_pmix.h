// `muster pmix FOLDER NODE PARENT`: the PMIx server of one attempt on one node, and nothing else.
//
// A child of jobd, which sits at the other end of descriptor 3 (pmix_words.h).  It starts the
// server before it knows of any job, then registers one attempt, and ends by SIGKILL: libpmix 4.2
// can wedge in its clean-up, so no PMIx call is made there.  FOLDER is its own; jobd removes it.
//
// Threads: the caller's, which serves jobd, and libpmix's progress thread, which calls back.
#pragma once

#include <string>
#include <vector>

namespace muster {

// `arguments`: what follows the verb; PARENT is jobd's pid, and the helper ends if that is not its
// parent.  Returns the exit status, on a failure only.
int PmixMain(const std::vector<std::string>& arguments);

}  // namespace muster
