// The coordinator's values as messages of proto/muster/v1, and back.  Pure conversions; any thread.
#pragma once

#include "launcher/coordinator/audience.h"
#include "launcher/coordinator/config.h"
#include "launcher/coordinator/log_desk.h"
#include "muster/v1/agent.pb.h"
#include "muster/v1/cluster.pb.h"
#include "runtime/base/result.h"

namespace muster {

JobSpec FromProto(const v1::JobSpec& message);
Owner FromProto(const v1::Owner& message);
LogsAsked FromProto(const v1::LogsRequest& message);

// What a submission must have before the core may see it.  kInvalid names the field.
Status CheckSubmission(const v1::SubmitRequest& request);

// `whole`: with the reasons; lists are short.
v1::Job ToProto(const JobPicture& picture, bool whole);
v1::Progress ToProto(const JobProgress& progress);
v1::StoryLine ToProto(const Story& story);
v1::LogWanted ToProto(const LogWant& want);
v1::ListNodesReply NodesOf(const State& state);
v1::InfoReply InfoOf(const State& state);

// kInvalid: it cannot be read.  A status of an alternative unknown here is skipped (nullopt).
struct Registering {
  NodeRegistered node;
  std::vector<JobdStatus> jobds;
};
Result<Registering> FromProto(const v1::Register& message);
Result<std::optional<Report>> ReportFrom(const std::string& bytes);

}  // namespace muster
