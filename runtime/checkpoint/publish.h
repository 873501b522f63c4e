// Publishes a file under a name that can be taken once, by link(2), whatever is lost.
//
//   1. Write `temporary`, sync and close it.
//   2. Ask `may_publish`: the last look before the point of no return.
//   3. link(temporary, target).
//   4. On an error, unlink the temporary name: a request that is still under way then finds nothing
//      to link.  Now look at the target: it has our bytes (published: only the reply was lost),
//      another's (taken), or is not there (not published, and never will be).
//   5. Sync the target's folder, read the target back, unlink the temporary name.
//
// One thread at a time.
#pragma once

#include <functional>
#include <string>

#include "runtime/base/result.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct Publication {
  std::string folder;     // Of the target.
  std::string target;     // Path.
  std::string temporary;  // Path; a name never used before.
  std::string bytes;      // Read back when they are there.
};

// true: published and durable.  false: the name is taken by other bytes.  kUnavailable may also
// mean that nobody can say; the message then says so.
Result<bool> Publish(Store& store, const Publication& publication,
                     const std::function<Status()>& may_publish);

}  // namespace muster::checkpoint
