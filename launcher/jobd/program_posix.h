// Whether a job's program can be run on this node, and if not, why, for its user.  Any thread.
#pragma once

#include <string>

#include "runtime/base/statuses.h"

namespace muster {

// Looked at before any rank is started anywhere: it is there, may be executed, was built for this
// kind of machine, and the interpreter that its first line names is there, too.  kNone: all is
// well.
Cause CheckProgram(const Program& program, const NodeName& node);

// The kernel refused to run it all the same, with this errno.
Cause CannotRun(const std::string& program, const NodeName& node, int error);

// "'a b'"
std::string Quoted(const std::string& text);

}  // namespace muster
