// The command line's values as messages of proto/muster/v1, and back.  Pure conversions.
#pragma once

#include "launcher/cli/cluster.h"
#include "muster/v1/cluster.pb.h"

namespace muster {

v1::SubmitRequest ToProto(const JobRequest& request);
v1::LogsRequest ToProto(const LogsRequest& request);

JobView FromProto(const v1::Job& message);
LogPiece FromProto(v1::LogChunk&& message);
ProgressView FromProto(const v1::Progress& message);
StoryLine FromProto(const v1::StoryLine& message, JobId job);
ClusterNode FromProto(const v1::Node& message);
ClusterInfo FromProto(const v1::InfoReply& message);

}  // namespace muster
