// The session's values as messages of proto/muster/v1/agent.proto, and back.  Pure conversions.
#pragma once

#include "launcher/agent/exec_posix.h"
#include "launcher/agent/logs.h"
#include "launcher/agent/registration.h"
#include "muster/v1/agent.pb.h"

namespace muster {

v1::AgentMessage ToProto(const Registration& registration);
LogWish FromProto(const v1::LogWanted& message);
ExecWish FromProto(const v1::ExecWanted& message);
ExecWish FromProto(const v1::InputWanted& message);

}  // namespace muster
