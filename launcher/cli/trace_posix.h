// `muster trace`: fetches what the ranks' flight recorders hold, and writes it.
#pragma once

#include "launcher/cli/client_grpc.h"
#include "launcher/cli/command_line.h"

namespace muster {

// The exit status; has printed what there is to print.
int CarryOutTrace(ClusterClient& client, JobId job, const TraceCommand& trace);

}  // namespace muster
