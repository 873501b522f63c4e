// Whose processes these are.  Any thread.
#pragma once

#include <string>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// The user of this process: real ids, supplementary groups, name and home (HOME, else passwd's).
Owner CallerOwner();

// A user of this host: the ids and groups that a login gives.  kInvalid: there is none of that
// name.
Result<Owner> OwnerNamed(const std::string& user);

}  // namespace muster
