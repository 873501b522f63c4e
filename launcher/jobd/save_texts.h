// What a checkpoint says about the attempt that made it, as JSON objects, for `muster ckpt show`;
// and how sentences about saves and loads name the ranks of a host.
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

// "ranks 8 to 15 (node n1)"
std::string RanksText(const Host& host);

}  // namespace muster
