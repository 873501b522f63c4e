// What people and scripts read: tables, sentences and JSON from what a cluster said.  Pure.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/cluster.h"
#include "launcher/cli/cluster_dir.h"
#include "launcher/cli/curve.h"

namespace muster {

// ---- for people ---------------------------------------------------------------------------------

std::string JobTable(const std::vector<JobView>& jobs);
std::string NodeTable(const std::vector<ClusterNode>& nodes);
std::string JobPage(const JobView& job);

// "pending", "running", "stopping", "succeeded", "failed", "cancelled", "preempted", ...
std::string StateWord(const JobView& job);

// ---- for scripts --------------------------------------------------------------------------------

std::string JobsJson(const std::vector<JobView>& jobs);
// With "curve": a list of {"attempt", "step", "loss", "tokens", "at_ms"}; `loss` is missing where
// none was told, and null where it is no finite number.
std::string JobJson(const JobView& job, const std::vector<CurvePoint>& curve = {});
std::string NodesJson(const std::vector<ClusterNode>& nodes);

// {"job", "exit", "source": "program" or "muster", "cause", "rank", ...}: `exit` is what the
// command leaves with; 2 from a program and 2 from muster differ by their source.  One line.
std::string EndJson(const JobView& job, int exit);
// {"job", "restart", "max_restarts", "cause", "rank"}: an attempt failed, and the job goes on.
std::string RestartJson(const JobView& job);

std::string PlanJson(const std::string& name, bool now, const std::string& sentence);

// A failure before there was a job, or without one.
std::string FailureJson(const Status& failure, int exit);

std::string ClusterJson(const std::string& state, const ClusterDescription& cluster, bool alive);

}  // namespace muster
