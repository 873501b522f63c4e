// The number of each enum's values in the journal: for ever, whatever the order in its header.
//
// -1: no such value.  Pure; any thread.
#pragma once

#include "launcher/coordinator/facts.h"
#include "muster/v1/journal.pb.h"

namespace muster {

#define PAIR(ours, on_disk) \
  case ours:                \
    return v1::journal::on_disk

constexpr int OnDisk(CauseKind kind) {
  using enum CauseKind;
  switch (kind) {
    PAIR(kNone, CAUSE_NONE);
    PAIR(kExit, CAUSE_EXIT);
    PAIR(kSignal, CAUSE_SIGNAL);
    PAIR(kOutOfMemory, CAUSE_OUT_OF_MEMORY);
    PAIR(kNotFound, CAUSE_NOT_FOUND);
    PAIR(kNotExecutable, CAUSE_NOT_EXECUTABLE);
    PAIR(kAborted, CAUSE_ABORTED);
    PAIR(kSingleton, CAUSE_SINGLETON);
    PAIR(kPeerLost, CAUSE_PEER_LOST);
    PAIR(kNodeLost, CAUSE_NODE_LOST);
    PAIR(kJobdLost, CAUSE_JOBD_LOST);
    PAIR(kPmixLost, CAUSE_PMIX_LOST);
    PAIR(kLaunch, CAUSE_LAUNCH);
    PAIR(kStore, CAUSE_STORE);
    PAIR(kSuperseded, CAUSE_SUPERSEDED);
    PAIR(kCancelled, CAUSE_CANCELLED);
    PAIR(kTimeLimit, CAUSE_TIME_LIMIT);
    PAIR(kClientLost, CAUSE_CLIENT_LOST);
  }
  return -1;
}

constexpr int OnDisk(MemberPhase phase) {
  using enum MemberPhase;
  switch (phase) {
    PAIR(kNone, MEMBER_NONE);
    PAIR(kStarting, MEMBER_STARTING);
    PAIR(kReady, MEMBER_READY);
    PAIR(kRunning, MEMBER_RUNNING);
    PAIR(kFinished, MEMBER_FINISHED);
    PAIR(kStopping, MEMBER_STOPPING);
    PAIR(kLeft, MEMBER_LEFT);
    PAIR(kDead, MEMBER_DEAD);
    PAIR(kGone, MEMBER_GONE);
  }
  return -1;
}

constexpr int OnDisk(JobPhase phase) {
  using enum JobPhase;
  switch (phase) {
    PAIR(kPending, JOB_PENDING);
    PAIR(kRunning, JOB_RUNNING);
    PAIR(kEnded, JOB_ENDED);
  }
  return -1;
}

constexpr int OnDisk(Outcome outcome) {
  using enum Outcome;
  switch (outcome) {
    PAIR(kNone, OUTCOME_NONE);
    PAIR(kSucceeded, OUTCOME_SUCCEEDED);
    PAIR(kFailed, OUTCOME_FAILED);
    PAIR(kCancelled, OUTCOME_CANCELLED);
    PAIR(kPreempted, OUTCOME_PREEMPTED);
  }
  return -1;
}

constexpr int OnDisk(Bind bind) {
  using enum Bind;
  switch (bind) {
    PAIR(kAuto, BIND_AUTO);
    PAIR(kNone, BIND_NONE);
    PAIR(kCore, BIND_CORE);
    PAIR(kNuma, BIND_NUMA);
  }
  return -1;
}

constexpr int OnDisk(GpuView view) {
  using enum GpuView;
  switch (view) {
    PAIR(kNode, GPU_VIEW_NODE);
    PAIR(kRank, GPU_VIEW_RANK);
  }
  return -1;
}

#undef PAIR

}  // namespace muster
