// What a checkpoint says about the attempt that made it, as JSON objects: for `muster ckpt show`.
//
// Pure; any thread.
#pragma once

#include <string>

#include "runtime/base/orders.h"

namespace muster {

// {"nodes": 2, "ranks": 16, "attempt": 0, "hosts": [{"node": "n1", "ranks": 8}, ...]}
std::string TopologyText(const StartAttempt& order);

// {"job": {"id": 7, "name": "gpt", "command": [...]}, ...} and what the job file gives, as texts.
std::string MetadataText(const StartAttempt& order);

}  // namespace muster
