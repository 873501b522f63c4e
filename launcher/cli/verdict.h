// Why a job ended, for people: who failed first, how, when, and what it said last.  Pure.
#pragma once

#include <optional>
#include <string>

#include "launcher/cli/cluster.h"

namespace muster {

// "rank 3 on n1 (slot 2) was killed by SIGKILL", "rank 0 on n0 (slot 0) left with exit status 1".
std::string CauseSentence(const Cause& cause);

// What `run` and `wait` say when the job ended and not well: the culprit's last words, and as the
// last line the verdict: who, where, how, when, and what became of the others.  Empty for a job
// that succeeded.  `ran_ms`: since its ranks started, where that is known.
std::string EndReport(const JobView& job, std::optional<std::int64_t> ran_ms = {});

// How a later job goes on with the run of one that did not end well; empty for a job that
// succeeded, has no store or lost it, or was told itself what to go on with.
std::string ResumeAdvice(const JobView& job, const CheckpointPolicy& checkpoint);

// What `run` says when an attempt failed and the job goes on: who failed first, where, how, when.
std::string RestartReport(const JobView& job);

// The end of the culprit's stderr, indented under a line that says whose it is; "" without any.
std::string LastWordsOf(const JobView& job);

// "2026-11-22T09:02:43.512Z"
std::string Iso(std::int64_t wall_us);

}  // namespace muster
