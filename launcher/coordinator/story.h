// What happened, as sentences: for the log, for `muster run`, and for `muster events`.  Pure.
#pragma once

#include <optional>
#include <string>

#include "launcher/coordinator/facts.h"

namespace muster {

struct Told {
  JobId job = 0;  // 0: about the cluster.
  AttemptNumber attempt = 0;
  NodeName node;
  std::string text;
  bool detail = false;  // One line a member or less: for the log at level DEBUG only.
};

// `after`: the state with the fact applied.
Told Tell(const State& after, const Fact& fact);

// "job=3 attempt=0 node=n1: sentence".
std::string LogLine(const Told& told);

// The job that a fact is about, if it is about one.
std::optional<JobId> JobOf(const Fact& fact);

// The whole state for people, one line a node and one a job (SIGUSR1).
std::string Dump(const State& state);

}  // namespace muster
