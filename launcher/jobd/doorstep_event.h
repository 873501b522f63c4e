// Listens at a path of the file system, for its owner only.  The loop's thread only.
#pragma once

#include <event2/listener.h>

#include <string>

#include "runtime/base/result.h"

namespace muster {

// What lies at the path goes.  The listener is the caller's (evconnlistener_free), and so is the
// path. kInvalid: the path is longer than a unix socket's may be.
Result<evconnlistener*> ListenAt(event_base* base, const std::string& path,
                                 evconnlistener_cb on_accept, void* context);

}  // namespace muster
