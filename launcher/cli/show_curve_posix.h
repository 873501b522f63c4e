// Fetches what a job's loss curve is drawn from.
#pragma once

#include <vector>

#include "launcher/cli/client_grpc.h"
#include "launcher/cli/curve.h"

namespace muster {

// Empty for a job that reported nothing, and where its nodes do not answer within two seconds: the
// curve is an ornament of `show`, which people call when something is wrong.
std::vector<CurvePoint> FetchCurve(ClusterClient& client, JobId job);

}  // namespace muster
